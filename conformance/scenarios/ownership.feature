Feature: Owners and connections

  @quick
  Scenario: an owner in LOCK.INFO leads to its process
    Given a single server
    And an application A
      | label | billing |
    When A acquires "k" as h
    Then the owner of h leads to A
      | label | billing |

  @quick
  Scenario: the connection of a wait has a name
    Given a single server
    And an application A
    And the operator holds "k"
    When A starts to acquire "k" as h
    And 1 client waits for "k"
    Then the connection that waits for "k" has a name
    When A cancels h
    Then the lock "k" is not free

  Scenario: acquisitions without a scope have owners of their own
    Given a single server
    And an application A
    When A acquires "a" as h1
    And A acquires "b" as h2
    Then h1 and h2 have different owners

  @quick @needs:scope
  Scenario: locks of one scope have one owner
    Given a single server
    And an application A
    And A names the scope work
    When A acquires "a" as h1, scope work
    And A acquires "b" as h2, scope work
    Then h1 and h2 have one owner

  # C3: each acquisition opened a connection, also when the lock was free.
  @quick
  Scenario: acquisitions of a free lock share connections
    Given a single server
    And an application A
    And connections are counted from now on
    When A acquires and releases "k" 500 times
    Then at most 5 connections were opened

  @alone
  Scenario: 4000 acquisitions of a free lock share connections
    Given a single server
    And an application A
    And connections are counted from now on
    When A acquires and releases "k" 4000 times
    Then at most 5 connections were opened

  @quick
  Scenario: a wait takes at most one connection, and waits reuse connections
    Given a single server
    And an application A
    And the operator holds "k"
    And connections are counted from now on
    When A starts 6 waits for "k"
    And 6 clients wait for "k"
    Then at most 9 connections were opened
    When A cancels all waits within 5 s
    And 0 clients wait for "k"
    And 500 ms pass
    And A starts 6 waits for "k"
    And 6 clients wait for "k"
    Then at most 12 connections were opened
    When the operator releases "k"
    Then the waits of A are granted one after the other within 20 s

  @quick @needs:share-waits
  Scenario: a process that shares its waits costs one waiter
    Given a single server
    And an application A
      | share_waits | true |
    And the operator holds "k"
    When A starts 20 waits for "k"
    And 1 client waits for "k"
    And 300 ms pass
    Then at most 1 client waits for "k"
    When the operator releases "k"
    Then the waits of A are granted one after the other within 20 s
