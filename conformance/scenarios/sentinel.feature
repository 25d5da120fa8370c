@needs:sentinel
Feature: Sentinel

  Background:
    Given a primary with a replica and Sentinels

  @quick
  Scenario: a lock behind Sentinels
    Given an application A
    When A acquires "k" as h
    And A releases h
    Then the lock "k" is free within 2 s

  # C7: redis-py raised ConnectionError the moment the primary died, go-redis on refused connections.
  @finds:no-retry
  Scenario: a wait goes on at the new primary when the old one dies
    Given an application A
    And the operator holds "k"
    When A starts to acquire "k" as h, timeout 90 s
    And 1 client waits for "k"
    And the primary dies
    And another server is the primary of "k"
    And the operator releases "k"
    Then h is granted within 20 s
    And the server says that h is held

  # C2: a wait at a primary that hangs ended only with its own time limit.
  Scenario: a wait without limit goes on at the new primary when the old one hangs
    Given an application A
    And the operator holds "k"
    When A starts to acquire "k" as h
    And 1 client waits for "k"
    And the primary stops
    And another server is the primary of "k"
    And the operator releases "k"
    Then h is granted within 20 s
    And the server says that h is held
    When the stopped servers go on

  Scenario: a hold is renewed at the new primary
    Given an application A
    When A acquires "k" as h, lease 30 s
    And the primary dies
    And another server is the primary of "k"
    And 20 s pass
    Then A believes that it holds h
    And A has not been told of a loss
    And the lease of h is above 10 s
