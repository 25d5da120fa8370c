@needs:cluster
Feature: Cluster

  Background:
    Given a cluster

  @quick
  Scenario: locks on all nodes
    Given an application A
    When A acquires 30 locks "k", lease 30 s
    Then all 30 locks "k" are held as they were granted
    And A releases all 30 locks "k"

  # C4: a connection and a CLUSTER SLOTS for every slot that was used for the first time.
  Scenario: 3200 cold keys cost few connections and few questions for the map
    Given an application A
    And connections are counted from now on
    And calls of "cluster|slots" are counted from now on
    And calls of "cluster|shards" are counted from now on
    When A acquires and releases 3200 locks "cold", one after the other
    Then at most 30 connections were opened
    And at most 5 calls of "cluster|slots" were made
    And at most 5 calls of "cluster|shards" were made

  # C7: TRYAGAIN ended a wait of 60 s after 0.1 s.
  @finds:no-retry
  Scenario: a wait outlives the move of its slot
    Given an application A
    And the operator holds "k"
    When A starts to acquire "k" as h, timeout 60 s
    And 1 client waits for "k"
    And the slot of "k" moves to another node
    And the operator releases "k"
    Then h is granted within 15 s
    And the server says that h is held

  # C15: one lost connection made all watched holds extend at once.
  Scenario: a lost connection to one node is no reason to extend all holds
    Given an application A
    When A acquires 90 locks "k", lease 60 s
    And 1 s passes
    And calls of "lock.extend" are counted from now on
    And the operator runs "CLIENT KILL TYPE normal SKIPME yes" at the primary of "k0"
    And 4 s pass
    Then at most 50 calls of "lock.extend" were made
    And all 90 locks "k" are held as they were granted
    And A has not been told of a loss
    And A releases all 90 locks "k"

  Scenario: a hold is renewed after the move of its slot
    Given an application A
    When A acquires "k" as h, lease 6 s
    And the slot of "k" moves to another node
    And 10 s pass
    Then the server says that h is held
    And A has not been told of a loss

  Scenario: a wait in a cluster goes on at the new primary when the old one dies
    Given an application A
    And the operator holds "k"
    When A starts to acquire "k" as h, timeout 90 s
    And 1 client waits for "k"
    And the primary of "k" dies
    And another server is the primary of "k"
    And the operator releases "k"
    Then h is granted within 20 s
    And the server says that h is held

  # C2
  Scenario: a wait without limit in a cluster goes on at the new primary when the old one hangs
    Given an application A
    And the operator holds "k"
    When A starts to acquire "k" as h
    And 1 client waits for "k"
    And the primary of "k" stops
    And another server is the primary of "k"
    And the operator releases "k"
    Then h is granted within 20 s
    And the server says that h is held
    When the stopped servers go on
