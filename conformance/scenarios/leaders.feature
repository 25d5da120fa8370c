Feature: Leader election

  Background:
    Given a single server

  @quick @needs:elect
  Scenario: one leads, and hands over when it resigns
    Given applications A and B
    When A stands for "leader" as a, lease 10 s
    Then a is elected within 5 s
    When B stands for "leader" as b, lease 10 s
    And 1 client waits for "leader"
    Then b is still requested
    When A resigns a
    Then b is elected within 5 s
    And the fence of b is above the one of a
    When B resigns b
    Then the lock "leader" is free within 2 s

  @needs:elect
  Scenario: the next one leads when the leader's process has died
    Given applications A and B
    When A stands for "leader" as a, lease 2 s
    Then a is elected within 5 s
    When B stands for "leader" as b, lease 2 s
    And 1 client waits for "leader"
    And A is killed
    Then b is elected within 8 s
    When B resigns b

  @quick @needs:elect @needs:session
  Scenario: the next one leads at once when a leader by session has died
    Given applications A and B
    When A stands for "leader" as a, session
    Then a is elected within 5 s
    When B stands for "leader" as b, session
    And 1 client waits for "leader"
    And A is killed
    Then b is elected within 5 s
    When B resigns b

  @quick @needs:observe @needs:elect
  Scenario: an observer is told who leads, without polling
    Given applications A, B and C
    When C observes "leader" as o
    And A stands for "leader" as a, lease 30 s
    Then a is elected within 5 s
    And C is told by o that a leads within 5 s
    When calls of "lock.info" are counted from now on
    And calls of "lock.check" are counted from now on
    And 3 s pass
    Then at most 2 calls of "lock.check" were made
    When B stands for "leader" as b, lease 30 s
    And 1 client waits for "leader"
    And A resigns a
    Then b is elected within 5 s
    And C is told by o that b leads within 5 s
    When B resigns b
    Then C is told by o that there is no leader within 5 s
