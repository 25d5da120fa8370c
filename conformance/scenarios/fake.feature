@needs:fake @quick
Feature: The in-memory fake behaves as the servers do

  Background:
    Given the client's own fake
    And an application A

  Scenario: the fake grants, refuses and releases
    When A acquires "k" as h1
    Then A acquires "k" as h2, timeout 0 s and gets timeout
    And A acquires "k" as h2, timeout 200 ms and gets timeout
    And A believes that it holds h1
    When A releases h1
    Then A knows 0 holders and 0 waiters of "k"
    And A acquires "k" as h3
    And the fence of h3 is above the one of h1
    And A releases h3

  Scenario: the fake grants waits in their order
    When A acquires "k" as h1
    And A starts 10 waits for "k"
    Then A knows 1 holder and 10 waiters of "k"
    When A releases h1
    Then the waits of A are granted one after the other within 10 s

  Scenario: a cancelled wait leaves the queue of the fake
    When A acquires "k" as h1
    And A starts to acquire "k" as h2
    And A knows 1 holder and 1 waiter of "k"
    And A cancels h2 within 2 s
    Then A knows 1 holder and 0 waiters of "k"
    When A releases h1
    Then A knows 0 holders and 0 waiters of "k"

  Scenario: a hold of the fake ends with its lease
    When A acquires "k" as h, lease 300 ms, not renewed
    Then A is told of the loss of h within 5 s
    And A does not believe that it holds h
    And A knows 0 holders and 0 waiters of "k"
    And A releases h and gets not-held

  Scenario: a hold of the fake is renewed
    When A acquires "k" as h, lease 2 s
    And 3 s pass
    Then A believes that it holds h
    And A knows 1 holder and 0 waiters of "k"
    And A has not been told of a loss

  @needs:shared @needs:counted
  Scenario: the fake shares and counts
    When A acquires "k" as r1, shared
    And A acquires "k" as r2, shared
    Then A acquires "k" as w, timeout 0 s and gets timeout
    When A acquires "c" as c1, counted 3, weight 2
    Then A acquires "c" as c2, counted 3, weight 2, timeout 0 s and gets timeout
    And A acquires "c" as c3, counted 3

  @needs:scope
  Scenario: the fake finds a deadlock
    Given A names the scope one
    And A names the scope two
    When A acquires "a" as h1, scope one
    And A acquires "b" as h2, scope two
    And A starts to acquire "b" as h3, scope one
    And A knows 1 holder and 1 waiter of "b"
    And A starts to acquire "a" as h4, scope two
    Then h4 ends with deadlock within 5 s
    When A releases h2
    Then h3 is granted within 5 s

  @needs:keys @needs:cool
  Scenario: the fake takes several locks together, and cools
    When A acquires "b" as b
    Then A acquires "a" and "b" as h, timeout 0 s and gets timeout
    And A knows 0 holders and 0 waiters of "a"
    When A releases b and lets it cool for 500 ms
    Then A acquires "b" as c, timeout 0 s and gets timeout
    And A acquires "a" and "b" as h, timeout 5 s
