Feature: All kinds of locks

  @quick
  Scenario: fences rise, and a resource that compares them refuses the stale holder
    Given a single server
    And applications A and B
    When A acquires "k" as h1, lease 60 s
    And the operator runs "DEL k"
    And B acquires "k" as h2, lease 60 s
    Then the fence of h2 is above the one of h1
    And h2 writes to "table"
    And h1 cannot write to "table"
    And A releases h1 and gets not-held
    And the server says that h2 is held

  Scenario: a lock that is taken is refused at once without a time-out
    Given a single server
    And an application A
    And the operator holds "k"
    When A acquires "k" as h, timeout 0 s and gets timeout
    Then 0 clients wait for "k"

  @quick
  Scenario: workers of one application exclude one another
    Given a single server
    And an application A
    When 8 workers of A use "k" for 2 s

  @quick
  Scenario: what a client says of a lock is what the server says
    Given a single server
    And an application A
    When A acquires "k" as h1
    And A starts 2 waits for "k"
    Then A knows 1 holder and 2 waiters of "k"
    When A releases h1
    Then the waits of A are granted one after the other within 10 s
    And A knows 0 holders and 0 waiters of "k"

  @quick @needs:shared
  Scenario: shared holders share, and an exclusive one waits for all of them
    Given a single server
    And applications A and B
    When A acquires "k" as r1, shared
    And B acquires "k" as r2, shared
    Then the lock "k" is shared with 2 holders
    When A starts to acquire "k" as w
    And 1 client waits for "k"
    And A releases r1
    Then w is still requested
    When B releases r2
    Then w is granted within 5 s
    And the lock "k" is exclusive with 1 holder
    And the fence of w is above the one of r2

  @quick @needs:counted
  Scenario: a counted lock has as many holders as its limit
    Given a single server
    And an application A
    When A acquires "k" as h1, counted 2
    And A acquires "k" as h2, counted 2
    And A acquires "k" as h3, counted 2, timeout 0 s and gets timeout
    Then the lock "k" is shared with 2 holders
    When A releases h1
    And A acquires "k" as h3, counted 2, timeout 5 s
    Then the lock "k" is shared with 2 holders

  @quick @needs:counted
  Scenario: a holder of a counted lock can take several units
    Given a single server
    And an application A
    When A acquires "k" as h1, counted 5, weight 3
    Then h1 takes 3 units
    And A acquires "k" as h2, counted 5, weight 3, timeout 0 s and gets timeout
    And A acquires "k" as h3, counted 5, weight 2

  @quick @needs:keys
  Scenario: several locks are taken together, or none
    Given a single server
    And an application A
    And the operator holds "b"
    When A starts to acquire "a" and "b" as h
    And 1 client waits for "b"
    Then h is still requested
    When the operator releases "b"
    Then h is granted within 5 s
    And the server says that h is held
    When A releases h
    Then the lock "a" is free within 2 s
    And the lock "b" is free within 2 s

  @needs:keys
  Scenario: a request for several locks that times out leaves nothing
    Given a single server
    And an application A
    And the operator holds "b"
    When A acquires "a" and "b" as h, timeout 300 ms and gets timeout
    Then the lock "a" is free within 2 s
    And 0 clients wait for "b"

  @needs:keys
  Scenario: several locks are renewed together, and the loss of one is a loss
    Given a single server
    And an application A
    When A acquires "a" and "b" as h, lease 3 s
    And 5 s pass
    Then the server says that h is held
    When the operator runs "DEL b"
    Then A is told of the loss of h within 5 s

  @quick @needs:cool
  Scenario: a lock that cools is refused until it has cooled
    Given a single server
    And an application A
    When A acquires "k" as h1
    And A releases h1 and lets it cool for 2 s
    Then the lock "k" is cooling with 0 holders
    And A acquires "k" as h2, timeout 0 s and gets timeout
    And A acquires "k" as h3, timeout 10 s

  @needs:delay
  Scenario: a lock whose holder died cools for the delay
    Given a single server
    And applications A and B
    When A acquires "k" as h1, lease 1 s, delay 2 s
    And A is killed
    Then the lock "k" is cooling with 0 holders
    And B acquires "k" as h2, timeout 10 s

  @quick @needs:downgrade
  Scenario: an exclusive hold becomes a shared one with the same fence
    Given a single server
    And applications A and B
    When A acquires "k" as h1
    And B starts to acquire "k" as h2, shared
    And 1 client waits for "k"
    And A downgrades h1
    Then h2 is granted within 5 s
    And the lock "k" is shared with 2 holders
    And the server says that h1 is held

  @quick @needs:session
  Scenario: a session ends with its process
    Given a single server
    And applications A and B
    When A acquires "k" as h, session, lease 10 min
    Then h is bound to a connection
    When A is killed
    And B acquires "k" as h2, timeout 5 s

  @needs:session
  Scenario: a session is released like any other hold
    Given a single server
    And an application A
    When A acquires "k" as h, session
    And A releases h
    Then the lock "k" is free within 2 s

  @quick @needs:reentrant
  Scenario: a reentrant lock is free after as many releases as acquisitions
    Given a single server
    And an application A
    When A acquires "k" as h, reentrant
    And A acquires "k" as h2, reentrant, timeout 2 s
    And A releases h2
    Then the server says that h is held
    When A releases h
    Then the lock "k" is free within 2 s

  # C5: each acquisition had an owner of its own, so no deadlock could be found.
  @quick @needs:scope
  Scenario: a deadlock of two scopes is found
    Given a single server
    And an application A
    And A names the scope one
    And A names the scope two
    When A acquires "a" as h1, scope one
    And A acquires "b" as h2, scope two
    And A starts to acquire "b" as h3, scope one
    And 1 client waits for "b"
    And A starts to acquire "a" as h4, scope two
    Then h4 ends with deadlock and "waits for" within 5 s
    When A releases h2
    Then h3 is granted within 5 s

  @needs:durable
  Scenario: a durable grant is on the replica
    Given a primary with a replica
    And an application A
    When A acquires "k" as h, durable 1

  @quick @needs:durable
  Scenario: a grant that too few replicas confirm is released
    Given a primary with a replica
    And an application A
    When A acquires "warm" as warm
    And the replica stops
    And A acquires "k" as h, durable 1, timeout 10 s and gets not-durable
    Then the lock "k" is free within 5 s
    When the stopped servers go on
    And A releases warm
