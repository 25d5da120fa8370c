"""session.py keeps what it says."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from redis.exceptions import ConnectionError

from conftest import DEADLINE, Operator, until
from session import NotAcquired, session_lock


def enter(url: str, key: str) -> int:
    with session_lock(url, key, lease=60, wait=DEADLINE) as hold:
        return hold.fence


def test_hold_ends_with_the_connection(url: str, key: str, operator: Operator) -> None:
    with (
        ThreadPoolExecutor(1) as standby,
        pytest.raises(ConnectionError),
        session_lock(url, key, lease=60, wait=0) as leader,
    ):
        successor = standby.submit(enter, url, key)
        until(lambda: operator.waiters() == 1)
        assert leader.extend()
        operator.disconnect(operator.info()["holders"][0]["session"])
        assert successor.result(DEADLINE) > leader.fence
        leader.extend()
        pytest.fail("it went on with a new connection")


def test_hold_ends_with_the_body(url: str, key: str, operator: Operator) -> None:
    with session_lock(url, key, lease=60, wait=0):
        with pytest.raises(NotAcquired), session_lock(url, key, lease=60, wait=0.05):
            pytest.fail("two held it")
        assert operator.waiters() == 0
    until(lambda: not operator.info())


def test_broken_lock_is_told(url: str, key: str, operator: Operator) -> None:
    with session_lock(url, key, lease=60, wait=0) as hold:
        operator.break_lock()
        assert not hold.extend()
