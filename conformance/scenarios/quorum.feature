@needs:quorum
Feature: Quorum

  @quick
  Scenario: a lock of a quorum is held by a majority
    Given a quorum of 3 servers
    And an application A
    When A acquires "k" as h
    Then 3 servers say that h is held
    When A releases h
    Then no lock is left within 5 s

  @quick
  Scenario: a minority may be dead
    Given a quorum of 3 servers
    And an application A
    When server 1 dies
    And A acquires "k" as h, timeout 10 s
    Then 2 servers say that h is held
    And A releases h

  @quick
  Scenario: without a majority nobody gets the lock, and nothing is left
    Given a quorum of 3 servers
    And an application A
    When server 1 dies
    And server 2 dies
    Then A acquires "k" as h, timeout 3 s and gets no-quorum
    And no lock is left within 5 s

  # C6: a release was given up after 2 s, so that a stopped member kept a ghost.
  Scenario: a member that stands still keeps no ghost
    Given a quorum of 3 servers
    And an application A
    When A acquires "warm" as warm
    And server 1 stops
    And A acquires "k" as h, timeout 10 s
    And A releases h
    And 4 s pass
    And the stopped servers go on
    And A releases warm
    Then no lock is left within 15 s

  Scenario: 50 waits on a slow quorum are all granted, and leave nothing
    Given a quorum of 3 servers behind relays
    And an application A
    And the relay delays each "LOCK.ACQUIRE" by 50 ms to 300 ms
    When A starts 50 waits for "k"
    And 500 ms pass
    And the relay behaves
    Then the waits of A are granted one after the other within 60 s
    And no lock is left within 15 s

  # C15: a hold never came back to a member that had restarted empty.
  Scenario: a hold comes back to a member that restarted empty
    Given a quorum of 3 servers
    And an application A
    When A acquires "k" as h, lease 6 s
    And server 1 dies
    And server 1 starts again
    Then 3 servers say that h is held

  # C12: 5 clients got 372 grants in 10 s, 50 clients 94.
  @alone
  Scenario: 50 clients of a quorum get at least half the grants of 5
    Given a quorum of 3 servers
    And an application A
    When 5 workers of A use "few" for 8 s
    And 50 workers of A use "many" for 8 s
    Then 50 workers got at least half the grants of 5
