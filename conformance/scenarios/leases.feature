Feature: Leases, renewal and loss

  @quick
  Scenario: a hold is renewed until it is released
    Given a single server
    And an application A
    When A acquires "k" as h, lease 3 s
    And 5 s pass
    Then the server says that h is held
    And A believes that it holds h
    And A has not been told of a loss
    When A releases h
    Then the lock "k" is free within 1 s

  @quick
  Scenario: a hold that is not renewed ends with its lease, and the application is told
    Given a single server
    And an application A
    When A acquires "k" as h, lease 700 ms, not renewed
    Then A is told of the loss of h within 5 s
    And A does not believe that it holds h
    And the lock "k" is free within 2 s
    And A releases h and gets not-held

  @quick
  Scenario: a hold can be extended by hand
    Given a single server
    And an application A
    When A acquires "k" as h, lease 5 s, not renewed
    And A extends h to 60 s
    Then the lease of h is above 30 s

  @quick
  Scenario: a hold that somebody ended cannot be extended or released
    Given a single server
    And an application A
    When A acquires "k" as h, lease 60 s
    And the operator runs "DEL k"
    Then A extends h to 60 s and gets not-held
    And A does not believe that it holds h

  Scenario: an application that asks the server hears the truth
    Given a single server
    And an application A
    When A acquires "k" as h, lease 60 s
    Then A asks the server about h and gets held
    When the operator runs "DEL k"
    Then A asks the server about h and gets lost

  # The lease is a minute, so it is not a renewal that notices.
  @quick @needs:tracking
  Scenario: a loss is told at once
    Given a single server
    And an application A
    When A acquires "k" as h, lease 60 s
    And 500 ms pass
    And the operator runs "DEL k"
    Then A is told of the loss of h within 3 s
    And A does not believe that it holds h

  Scenario: a loss is told at the next renewal at the latest
    Given a single server
    And an application A
    When A acquires "k" as h, lease 3 s
    And the operator runs "DEL k"
    Then A is told of the loss of h within 4 s
    And A does not believe that it holds h

  @needs:tracking
  Scenario: a loss is told at once after the connection that listens has broken
    Given a single server
    And an application A
    When A acquires "k" as h, lease 60 s
    And 500 ms pass
    And the operator runs "CLIENT KILL TYPE normal SKIPME yes"
    And the operator runs "CLIENT KILL TYPE pubsub SKIPME yes"
    And 5 s pass
    And the operator runs "DEL k"
    Then A is told of the loss of h within 5 s

  # C9: timers hold 31 bits of milliseconds.
  @quick
  Scenario: a lease of 30 days is not lost at once
    Given a single server
    And an application A
    When A acquires "k" as h, lease 30 days
    And 1 s passes
    Then A believes that it holds h
    And A has not been told of a loss
    And the server says that h is held

  # C1: a stall that is shorter than the lease lost holds, in a storm of connections.
  @quick
  Scenario: a stall that is shorter than the lease loses nothing and opens few connections
    Given a single server
    And an application A
    When A acquires 200 locks "k", lease 6 s
    And connections are counted from now on
    And the server stops for 3500 ms
    And 4 s pass
    Then all 200 locks "k" are held as they were granted
    And A believes that it holds all 200 locks "k"
    And A has not been told of a loss
    And at most 10 connections were opened
    And A releases all 200 locks "k"

  # C1: every time-out threw away the connection, also one that had just been made.
  @quick
  Scenario: requests that time out one after the other open few connections
    Given a single server
    And an application A
    When A acquires "h" as h, lease 10 s
    And connections are counted from now on
    And the primary stops
    And A starts to acquire 40 locks "k", one every 100 ms
    And the stopped servers go on
    Then all 40 locks "k" are granted within 15 s
    And all 40 locks "k" are held as they were granted
    And at most 8 connections were opened
    And the server says that h is held
    And A has not been told of a loss
    And A releases all 40 locks "k"

  # C1: every time-out threw away each connection, also the healthy ones.
  @quick @finds:forget-all
  Scenario: a request without an answer costs one connection, and no other
    Given a single server behind a relay
    And an application A
    And the operator holds "k"
    When A acquires "h" as h, lease 6 s
    And A starts 20 waits for "k"
    And 20 clients wait for "k"
    And A cancels all waits within 5 s
    And 0 clients wait for "k"
    And connections are counted from now on
    And the relay keeps the next "LOCK.EXTEND"
    And the relay has kept it
    And 2500 ms pass
    And A starts 20 waits for "k"
    And 20 clients wait for "k"
    # A client need not keep all 20 connections for later waits.
    Then at most 16 connections were opened
    And the server says that h is held
    When the relay lets it go
    And the operator releases "k"
    Then the waits of A are granted one after the other within 30 s
    And A has not been told of a loss

  @alone @limit:240
  Scenario Outline: a stall of <stall> loses none of <holds> holds with leases of 10 s
    Given a single server
    And an application A
    When A acquires <holds> locks "k", lease 10 s
    And 5 s pass
    And connections are counted from now on
    And the server stops for <stall>
    And 12 s pass
    Then all <holds> locks "k" are held as they were granted
    And A believes that it holds all <holds> locks "k"
    And A has not been told of a loss
    And at most 10 connections were opened
    And A releases all <holds> locks "k"
    Examples:
      | stall | holds |
      | 5 s   | 2000  |
      | 6 s   | 2000  |
      | 5 s   | 5000  |

  Scenario: a renewal whose reply is lost is no loss
    Given a single server behind a relay
    And an application A
    When A acquires "k" as h, lease 3 s
    And the relay drops the reply to the next "LOCK.EXTEND"
    And the relay has struck
    And 4 s pass
    Then the server says that h is held
    And A has not been told of a loss

  Scenario: a stall of the network that is shorter than the lease loses nothing
    Given a single server behind a relay
    And an application A
    When A acquires 50 locks "k", lease 6 s
    And the relay stops
    And 3 s pass
    And the relay goes on
    And 4 s pass
    Then all 50 locks "k" are held as they were granted
    And A has not been told of a loss
    And A releases all 50 locks "k"

  Scenario: an application that cannot reach the server stops believing when the lease ends
    Given a single server behind a relay
    And an application A
    When A acquires "k" as h, lease 2 s
    And the relay refuses connections
    And 2500 ms pass
    Then A does not believe that it holds h
    And A is told of the loss of h within 3 s
    When the relay accepts connections

  # C10: there was no look at the clock.
  @quick @needs:block
  Scenario: an application that was blocked for longer than the lease knows that at once
    Given a single server
    And an application A
    When A acquires "k" as h, lease 1 s, not renewed
    Then A blocks for 2 s and is then asked about h
    And A is told of the loss of h within 3 s

  @quick @finds:no-clock
  Scenario: a process that was suspended for longer than the lease knows that at once
    Given a single server
    And applications A and B
    When A acquires "k" as h, lease 1500 ms
    And A is suspended
    And 2 s pass
    And B acquires "k" as h2, timeout 10 s
    And A goes on
    Then A does not believe that it holds h
    And A is told of the loss of h within 3 s
    And h2 writes to "table"
    And h cannot write to "table"
    And the fence of h2 is above the one of h

  # C10: CLOCK_MONOTONIC stands still while the machine sleeps.
  @quick @needs:clock @finds:no-clock
  Scenario: an application whose machine slept for longer than the lease knows that at once
    Given a single server
    And an application A
    When A acquires "k" as h, lease 60 s
    And the machine of A sleeps for 61 s
    Then A does not believe that it holds h
    And A is told of the loss of h within 40 s
    # The server did not sleep, and still shows the hold.
    And locks are left on purpose

  @quick @needs:max
  Scenario: a hold ends with its max, however often it is renewed
    Given a single server
    And an application A
    When A acquires "k" as h, lease 1 s, max 2 s
    Then h is bounded by 2 s
    And A is told of the loss of h within 6 s
    And the lock "k" is free within 3 s
    And A does not believe that it holds h

  @quick @needs:fork
  Scenario: a child that leaves the body does not release the lock of its parent
    Given a single server
    And an application A
    When A acquires "k" as h, lease 3 s
    And A forks
    Then the server says that h is held
    When 5 s pass
    Then the server says that h is held
    And A believes that it holds h
    When A releases h
    Then the lock "k" is free within 2 s
