"""What all tests have: a server, a key of their own, and a look at the lock from outside."""

from __future__ import annotations

import sys
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import redis
import redis.asyncio

sys.path.insert(0, str(Path(__file__).parent))

from redislock_client import Locks, aio
from redislock_client.fake import FakeServer
from servers import Operator, Relay, Server, until


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


@pytest.fixture
def own_server() -> Iterator[Server]:
    """A server that the test may stop and kill."""
    server = Server()
    yield server
    server.close()


@pytest.fixture
def operator(server: Server) -> Iterator[Operator]:
    operator = Operator(server)
    yield operator
    operator.client.close()


@pytest.fixture
def key(server: Server) -> Iterator[str]:
    """Its lock must be free, or cooling, at the end."""
    key = f"lock:{uuid.uuid4().hex}"
    yield key
    operator = Operator(server)
    try:
        until(lambda: operator.is_free(key), "the test left a holder or a waiter")
    finally:
        operator.client.delete(key)
        operator.client.close()


@pytest.fixture
def locks(server: Server) -> Iterator[Locks]:
    with redis.Redis.from_url(server.url) as client, Locks(client, label="tests") as locks:
        yield locks


@pytest.fixture(params=["server", "fake"])
def any_locks(request: pytest.FixtureRequest, server: Server) -> Iterator[Locks]:
    """The client at a server, and at the fake."""
    if request.param == "fake":
        with FakeServer().locks(label="tests") as locks:
            yield locks
        return
    with redis.Redis.from_url(server.url) as client, Locks(client, label="tests") as locks:
        yield locks


@pytest.fixture
async def aio_locks(server: Server) -> AsyncIterator[aio.Locks]:
    client = redis.asyncio.Redis.from_url(server.url)
    async with aio.Locks(client, label="tests") as locks:
        yield locks
    await getattr(client, "aclose", client.close)()


@pytest.fixture(params=["server", "fake"])
async def any_aio_locks(request: pytest.FixtureRequest, server: Server) -> AsyncIterator[aio.Locks]:
    if request.param == "fake":
        async with FakeServer().aio_locks(label="tests") as locks:
            yield locks
        return
    client = redis.asyncio.Redis.from_url(server.url)
    async with aio.Locks(client, label="tests") as locks:
        yield locks
    await getattr(client, "aclose", client.close)()


@pytest.fixture
def relay(server: Server) -> Iterator[Relay]:
    relay = Relay(server.port)
    yield relay
    relay.close()
