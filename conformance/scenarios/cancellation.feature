Feature: Cancellation leaves nothing

  @quick
  Scenario: a wait that is cancelled leaves the queue
    Given a single server
    And an application A
    And the operator holds "k"
    When A starts to acquire "k" as h
    And 1 client waits for "k"
    And A cancels h within 2 s
    Then 0 clients wait for "k"
    When the operator releases "k"
    Then no lock is left within 2 s

  @quick
  Scenario: a wait that times out leaves the queue
    Given a single server
    And an application A
    And the operator holds "k"
    When A acquires "k" as h, timeout 300 ms and gets timeout
    Then 0 clients wait for "k"
    When the operator releases "k"
    Then no lock is left within 2 s

  # C6: the RELEASE went over another connection and overtook the ACQUIRE.
  @quick @finds:release-first
  Scenario: a request that is cancelled on its way to the server leaves nothing
    Given a single server behind a relay
    And an application A
    And the relay keeps the next "LOCK.ACQUIRE"
    When A starts to acquire "k" as h
    And the relay has kept it
    And A cancels h within 2 s
    And 500 ms pass
    And the relay lets it go
    Then no lock is left within 5 s

  @finds:release-first
  Scenario: a wait that is cancelled on its way to the server leaves nothing
    Given a single server behind a relay
    And an application A
    And the operator holds "k"
    And the relay keeps the next "BLOCK"
    When A starts to acquire "k" as h
    And the relay has kept it
    And A cancels h within 2 s
    And 500 ms pass
    And the relay lets it go
    And the operator releases "k"
    Then no lock is left within 5 s

  Scenario: an acquisition that is cancelled while nothing passes leaves nothing
    Given a single server behind a relay
    And an application A
    When the relay stops
    And A starts to acquire "k" as h
    And 500 ms pass
    And A cancels h within 3 s
    And the relay goes on
    Then no lock is left within 10 s

  @needs:keys
  Scenario: a request for several locks that is cancelled on its way to the server leaves nothing
    Given a single server behind a relay
    And an application A
    And the relay keeps the next "LOCK.MACQUIRE"
    When A starts to acquire "a" and "b" as h
    And the relay has kept it
    And A cancels h within 2 s
    And 500 ms pass
    And the relay lets it go
    Then no lock is left within 5 s

  Scenario: a request that times out on its way to the server leaves nothing
    Given a single server behind a relay
    And an application A
    And the relay keeps the next "LOCK.ACQUIRE"
    When A starts to acquire "k" as h, timeout 500 ms
    And the relay has kept it
    And h ends with timeout or connection within 3 s
    And the relay lets it go
    Then no lock is left within 5 s

  @quick @finds:release-first
  Scenario: 50 acquisitions that are cancelled at random moments leave nothing
    Given a single server behind a relay
    And an application A
    And the relay delays each "LOCK.ACQUIRE" by 300 ms to 600 ms
    When A cancels 50 acquisitions of "k" at random moments up to 900 ms
    Then no lock is left within 10 s

  @finds:release-first
  Scenario: 400 acquisitions that are cancelled at random moments leave nothing
    Given a single server behind a relay
    And an application A
    And the relay delays each "LOCK.ACQUIRE" by 300 ms to 600 ms
    When A cancels 400 acquisitions of "k" at random moments up to 900 ms
    Then no lock is left within 10 s

  Scenario: 400 acquisitions that are cancelled at random moments leave nothing on a fast network
    Given a single server
    And an application A
    When A cancels 400 acquisitions of "k" at random moments up to 50 ms
    Then no lock is left within 10 s

  Scenario: cancelled acquisitions leave nothing although connections break meanwhile
    Given a single server behind a relay
    And an application A
    And the operator holds "k"
    And the relay delays each "LOCK.ACQUIRE" by 100 ms to 300 ms
    When A starts 20 waits for "k"
    And 200 ms pass
    And the relay closes all connections
    And A cancels all waits within 5 s
    And the relay behaves
    And the operator releases "k"
    Then no lock is left within 15 s

  # C8: the release after a cancellation had no bound.
  @quick
  Scenario: a cancellation does not wait for a server that hangs
    Given a single server
    And an application A
    And the operator holds "k"
    When A starts to acquire "k" as h
    And 1 client waits for "k"
    And the primary stops
    Then A cancels h within 5 s
    When the stopped servers go on
    And the operator releases "k"
    Then no lock is left within 15 s

  # C6: a release was given up after 2 s, and a server that stood still for longer kept the hold.
  Scenario: a cancellation while the server stands still for 8 s leaves nothing
    Given a single server
    And an application A
    When A acquires "warm" as warm
    And the primary stops
    And A starts to acquire "k" as h
    And 300 ms pass
    And A cancels h within 5 s
    And 8 s pass
    And the stopped servers go on
    And A releases warm
    Then no lock is left within 15 s

  @quick
  Scenario: the reply to an ACQUIRE is lost, and the client has the lock all the same
    Given a single server behind a relay
    And an application A
    And the relay drops the reply to the next "LOCK.ACQUIRE"
    When A acquires "k" as h, timeout 10 s
    And the relay has struck
    And A releases h
    Then no lock is left within 5 s

  Scenario: the reply to a RELEASE is lost, and the lock is free
    Given a single server behind a relay
    And an application A
    When A acquires "k" as h
    And the relay drops the reply to the next "LOCK.RELEASE"
    And A releases h
    Then no lock is left within 5 s

  @quick
  Scenario: a RELEASE that never arrived is sent again
    Given a single server behind a relay
    And an application A
    When A acquires "k" as h
    And the relay closes the connection of the next "LOCK.RELEASE"
    And A releases h
    Then no lock is left within 5 s

  @quick
  Scenario: a client that closes ends its holds and its waits
    Given a single server
    And applications A and B
    And the operator holds "taken"
    When A acquires "a" as h1
    And A acquires "b" as h2
    And A starts 5 waits for "taken"
    And 5 clients wait for "taken"
    And A starts to close
    Then the waits of A end with closed within 5 s
    And A has closed within 5 s
    And 0 clients wait for "taken"
    And the lock "a" is free within 2 s
    And the lock "b" is free within 2 s

  Scenario: a client that closes does not wait for a server that hangs
    Given a single server
    And an application A
    When A acquires "a" as h1, lease 5 s
    And the primary stops
    And A starts to close
    Then A has closed within 15 s
    When the stopped servers go on
    Then the lock "a" is free within 10 s
