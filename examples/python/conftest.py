"""What all tests have: a server, a key of their own, and a look at the lock from outside."""

import os
import signal
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from redis import Redis

# Generous, because only a failure uses it up.
DEADLINE = 60.0
# On a busy machine it takes its time to open many connections at once.
PATIENT: dict[str, Any] = {"socket_timeout": DEADLINE, "socket_connect_timeout": DEADLINE}


class Operator:
    """Sees and breaks the lock of one test, on a connection of its own."""

    def __init__(self, url: str, key: str) -> None:
        self.key = key
        self.client = Redis.from_url(url, decode_responses=True, protocol=3, **PATIENT)

    def info(self) -> dict[str, Any]:
        """LOCK.INFO; empty if the lock is free."""
        return self.client.execute_command("LOCK.INFO", self.key) or {}

    def waiters(self) -> int:
        return int(self.info().get("waiters", 0))

    def waited_ms(self) -> int:
        """How long the first waiter is in the line by now; -1 if nobody waits."""
        queue = self.info().get("queue")
        return int(queue[0]["waited"]) if queue else -1

    def held_ms(self) -> int:
        """How long the first holder has held the lock by now; -1 if it is free."""
        holders = self.info().get("holders")
        return int(holders[0]["held"]) if holders else -1

    def ttl_ms(self) -> int:
        """How long the first holder's lease goes on; -1 if it is free."""
        holders = self.info().get("holders")
        return int(holders[0]["ttl"]) if holders else -1

    def take(self) -> str:
        """Holds the lock as somebody else, and tells as whom."""
        owner = uuid.uuid4().hex
        assert self.client.execute_command("LOCK.ACQUIRE", self.key, owner, "PX", 600_000)
        return owner

    def release(self, owner: str) -> bool:
        return bool(self.client.execute_command("LOCK.RELEASE", self.key, owner))

    def break_lock(self) -> None:
        self.client.delete(self.key)

    def waiting(self) -> set[str]:
        """The ids of the connections that wait."""
        clients = self.client.client_list()
        return {c["id"] for c in clients if c["cmd"] == "lock.acquire" and "b" in c["flags"]}

    def disconnect(self, client_id: str) -> None:
        self.client.client_kill_filter(_id=client_id)


def pytest_configure() -> None:
    # So that the tests clean up also then.
    signal.signal(signal.SIGTERM, lambda *_: pytest.exit("terminated", returncode=143))


def until(condition: Callable[[], bool]) -> None:
    """Waits for the condition, however slow the machine is."""
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.005)


@pytest.fixture(scope="session")
def url() -> str:
    if url := os.environ.get("REDIS_URL"):
        return url
    pytest.exit("set REDIS_URL to a server with redis-lock", returncode=2)


@pytest.fixture
def key() -> str:
    return f"lock:{uuid.uuid4().hex}"


@pytest.fixture
def operator(url: str, key: str) -> Iterator[Operator]:
    """Checks in the end that the test left no holder and no waiter."""
    operator = Operator(url, key)
    try:
        yield operator
        until(lambda: not operator.client.exists(key))
    finally:
        operator.break_lock()
        operator.client.close()


@pytest.fixture
def client(url: str) -> Iterator[Redis]:
    with Redis.from_url(url, **PATIENT) as client:
        yield client
