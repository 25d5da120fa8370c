Feature: A wait outlives what it can

  @quick
  Scenario: the lock goes from one application to the next in the order of their requests
    Given a single server
    And applications A, B, C and D
    Then applications A, B, C and D are granted "k" in the order in which they ask

  # C7, C11: errors that a wait should outlive ended it.
  @finds:no-retry
  Scenario Outline: a wait outlives <error>
    Given a single server behind a relay
    And an application A
    And the relay answers the next 3 "LOCK.ACQUIRE" with "<error>"
    When A acquires "k" as h, timeout 20 s
    Then the relay has struck
    And A releases h
    @quick
    Examples:
      | error                                                              |
      | TRYAGAIN the slot of this lock has left this node                  |
      | UNBLOCKED force unblock from blocking operation                    |
    Examples:
      | error                                                              |
      | CLUSTERDOWN the cluster is down                                    |
      | LOADING the server is loading its data                             |
      | READONLY You can't write against a read only replica.              |
      | MASTERDOWN Link with MASTER is down                                |

  @quick @finds:no-retry
  Scenario: a wait outlives a lost connection, under the same owner
    Given a single server behind a relay
    And an application A
    And the operator holds "k"
    And the server is monitored
    When A starts to acquire "k" as h, timeout 60 s
    And 1 client waits for "k"
    And each "LOCK.ACQUIRE" that the server sees is counted from now on
    And the relay closes all connections
    Then the server sees "LOCK.ACQUIRE" again
    And 1 client waits for "k"
    When the operator releases "k"
    Then h is granted within 10 s
    And the server says that h is held
    And the server saw one owner ask for "k"

  Scenario: a wait outlives a connection of which the server sees the end
    Given a single server behind a relay
    And an application A
    And the operator holds "k"
    When A starts to acquire "k" as h, timeout 60 s
    And 1 client waits for "k"
    And the relay half-closes all connections to the server
    And 500 ms pass
    And the operator releases "k"
    Then h is granted within 20 s
    And the server says that h is held

  Scenario: a wait outlives a connection that is half closed
    Given a single server behind a relay
    And an application A
    And the operator holds "k"
    When A starts to acquire "k" as h, timeout 60 s
    And 1 client waits for "k"
    And the relay half-closes all connections to the client
    And 500 ms pass
    And the operator releases "k"
    Then h is granted within 15 s
    And the server says that h is held

  @quick @finds:no-retry
  Scenario: a wait outlives refused connections
    Given a single server behind a relay
    And an application A
    And the operator holds "k"
    When A starts to acquire "k" as h, timeout 60 s
    And 1 client waits for "k"
    And the relay refuses connections
    And 2 s pass
    And the relay accepts connections
    And 1 client waits for "k"
    And the operator releases "k"
    Then h is granted within 10 s

  @finds:no-retry
  Scenario: a wait outlives a restart of the server
    Given a single server
    And an application A
    And the operator holds "k"
    When A starts to acquire "k" as h, timeout 60 s
    And 1 client waits for "k"
    And the primary dies
    And 1 s passes
    And the server starts again
    Then h is granted within 15 s
    And the server says that h is held

  # C2: TCP keeps answering while a server hangs.
  Scenario: a wait whose connection says nothing any more goes on over another one
    Given a single server behind a relay
    And an application A
    And the operator holds "k"
    When A starts to acquire "k" as h
    And 1 client waits for "k"
    And the relay stops
    And 12 s pass
    And the operator releases "k"
    And the relay goes on
    Then h is granted within 15 s
    And the server says that h is held

  # C11: the client said "no answer" where the server had said READONLY each time, over some 80 connections.
  @quick
  Scenario: a wait that the server refuses all the time ends with the server's words
    Given a single server behind a relay
    And an application A
    And the relay answers every "LOCK.ACQUIRE" with "READONLY You can't write against a read only replica."
    When A starts to acquire "k" as h, timeout 4 s
    Then h ends with server and "against a read only replica" within 10 s
    And at most 12 connections per 10 s were tried

  # C11: a thousand waits asked again 900 times a second.
  @quick @finds:no-jitter
  Scenario: waits that are refused ask again ever more seldom, and not all at once
    Given a single server behind a relay
    And an application A
    And the relay answers every "LOCK.ACQUIRE" with "TRYAGAIN not now"
    When A starts 30 waits for "k", timeout 90 s
    And 5 s pass
    Then commands were struck at most 1200 times, and not all at once
    When the relay behaves
    Then the waits of A are granted one after the other within 30 s

  @alone
  Scenario: 1000 waits of one application
    Given a single server
    And an application A
    And the operator holds "k"
    When A starts 1000 waits for "k"
    And 1000 clients wait for "k"
    And the operator runs "CLIENT KILL TYPE normal SKIPME yes"
    And 1000 clients wait for "k"
    And the operator releases "k"
    Then the waits of A are granted one after the other within 90 s

  @alone
  Scenario: 1000 waits are cancelled
    Given a single server
    And an application A
    And the operator holds "k"
    When A starts 1000 waits for "k"
    And 1000 clients wait for "k"
    Then A cancels all waits within 20 s
    And 0 clients wait for "k"

  # C13: 14 waits and a pool of 10, and the holder's RELEASE could not get a connection.
  @quick
  Scenario: waits do not take the connections that a release needs
    Given a single server
    And an application A
      | max_connections | 10 |
    When A acquires "k" as h
    And A starts 14 waits for "k", timeout 60 s
    And 500 ms pass
    Then A releases h within 5 s
    And the waits of A are granted one after the other within 30 s

  # C9: time-outs above 31 bits of milliseconds, and none at all.
  Scenario Outline: a wait of <time> is a wait
    Given a single server
    And an application A
    And the operator holds "k"
    When A starts to acquire "k" as h, timeout <time>
    And 1 client waits for "k"
    And the operator releases "k"
    Then h is granted within 5 s
    @quick
    Examples:
      | time     |
      | 30 days  |
    Examples:
      | time     |
      | 400 days |
