Feature: Errors have types

  @quick
  Scenario: a key that holds something else
    Given a single server
    And an application A
    When the operator runs "SET k v"
    Then A acquires "k" as h, timeout 5 s and gets wrong-type

  @quick
  Scenario: a key that becomes something else during the wait
    Given a single server
    And an application A
    And the operator holds "k"
    When A starts to acquire "k" as h, timeout 60 s
    And 1 client waits for "k"
    And the operator runs "SET k v"
    Then h ends with wrong-type within 5 s

  @quick
  Scenario: a user without the right to the command
    Given a single server
    And the operator runs "ACL SETUSER guest on >secret ~* &* +@all -lock.acquire -lock.macquire"
    And an application A
      | user | guest:secret |
    Then A acquires "k" as h, timeout 5 s and gets no-permission

  Scenario: a user without the right to the key
    Given a single server
    And the operator runs "ACL SETUSER guest on >secret ~mine* &* +@all"
    And an application A
      | user | guest:secret |
    When A acquires "mine" as h1
    Then A acquires "k" as h2, timeout 5 s and gets no-permission

  Scenario: a user who loses the right during the wait
    Given a single server
    And the operator runs "ACL SETUSER guest on >secret ~* &* +@all"
    And an application A
      | user | guest:secret |
    And the operator holds "k"
    When A starts to acquire "k" as h, timeout 60 s
    And 1 client waits for "k"
    And the operator runs "ACL SETUSER guest -lock.acquire"
    And the operator releases "k"
    Then h ends with no-permission within 10 s

  @quick
  Scenario: a server that is out of memory grants nothing, and still releases
    Given a single server
    And an application A
    When A acquires "held" as h1
    And the operator runs "CONFIG SET maxmemory-policy noeviction"
    And the operator runs "CONFIG SET maxmemory 1"
    Then A acquires "k" as h2, timeout 0 s and gets too-many
    When A extends h1 to 60 s
    And A releases h1
    Then the lock "held" is free within 2 s
    When the operator runs "CONFIG SET maxmemory 0"
    Then A acquires "k" as h3

  @quick
  Scenario: too many clients wait
    Given a single server
    And an application A
    And the operator holds "k"
    When the operator runs "CONFIG SET redislock.max-waiters 2"
    And A starts 2 waits for "k"
    And 2 clients wait for "k"
    Then A acquires "k" as h, timeout 5 s and gets too-many
    When the operator releases "k"
    Then the waits of A are granted one after the other within 20 s

  @needs:shared
  Scenario: too many clients hold
    Given a single server
    And an application A
    When the operator runs "CONFIG SET redislock.max-holders 1"
    And A acquires "k" as h1, shared
    Then A acquires "k" as h2, shared, timeout 2 s and gets too-many

  Scenario: a lease that the server does not allow
    Given a single server
    And an application A
    When the operator runs "CONFIG SET redislock.max-lease 10000"
    Then A acquires "k" as h, lease 60 s, timeout 2 s and gets server

  @quick
  Scenario: no server can be reached
    Given a single server behind a relay
    And an application A
    When the relay refuses connections
    Then A acquires "k" as h, timeout 2 s and gets connection
    When the relay accepts connections
    Then A acquires "k" as h2, timeout 10 s

  Scenario: a lock that others hold for the whole time
    Given a single server
    And an application A
    And the operator holds "k"
    Then A acquires "k" as h, timeout 500 ms and gets timeout

  Scenario: a hold that was released cannot be released again
    Given a single server
    And an application A
    When A acquires "k" as h, lease 60 s
    And the operator runs "DEL k"
    Then A releases h and gets not-held
