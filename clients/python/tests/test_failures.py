"""Servers that stall, hang and die; processes that fork; limits."""

from __future__ import annotations

import asyncio
import math
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import redis
import redis.asyncio

from redislock_client import (
    Hold,
    Locks,
    NoPermission,
    NotDurable,
    NotHeld,
    ServerError,
    TooMany,
    Unreachable,
    WrongType,
    _core,
    _hold,
    aio,
)
from servers import DEADLINE, Operator, Relay, Server, until


def test_loss_is_told_at_once(locks: Locks, operator: Operator, key: str) -> None:
    """The lease is an hour, so it is the server that tells."""
    told = threading.Event()
    with pytest.raises(NotHeld), locks.lock(key, lease=3600, on_lost=lambda _: told.set()) as hold:
        time.sleep(0.5)
        operator.client.delete(key)
        assert told.wait(DEADLINE)
        assert not hold.held and hold.lost_reason == "gone"


@pytest.mark.slow
def test_loss_is_told_after_the_connections_broke(
    locks: Locks, operator: Operator, key: str
) -> None:
    told = threading.Event()
    hold = locks.lock(key, lease=3600, on_lost=lambda _: told.set()).take()
    time.sleep(0.3)
    for kind in ("normal", "pubsub"):
        operator.client.client_kill_filter(_type=kind, skipme=True)
    time.sleep(2)
    assert hold.held
    operator.client.delete(key)
    assert told.wait(DEADLINE)


def test_without_the_right_to_tracking_the_renewal_tells(server: Server, key: str) -> None:
    with server.client() as admin:
        admin.execute_command(
            "ACL", "SETUSER", "plain", "on", ">secret", "~*", "+@all", "-client", "resetchannels"
        )
    told = threading.Event()
    with (
        redis.Redis(port=server.port, username="plain", password="secret") as client,
        Locks(client) as locks,
    ):
        hold = locks.lock(key, lease=1.5, on_lost=lambda _: told.set()).take()
        time.sleep(0.3)
        assert hold.held
        with server.client() as admin:
            admin.delete(key)
        assert told.wait(DEADLINE)


@pytest.mark.slow
def test_stall_shorter_than_the_lease_loses_nothing(own_server: Server, key: str) -> None:
    """C1: nothing is lost, and no storm of connections."""
    with redis.Redis.from_url(own_server.url) as client, Locks(client) as locks:
        lost: list[Hold] = []
        holds = [locks.lock(f"{key}:{n}", lease=8, on_lost=lost.append).take() for n in range(500)]
        time.sleep(1)
        before = locks.connections_opened
        own_server.stop()
        time.sleep(4)
        own_server.go_on()
        time.sleep(4)
        assert not lost and all(hold.held for hold in holds)
        assert all(hold.check() for hold in holds[::25])
        assert locks.connections_opened - before <= 5


@pytest.mark.slow
def test_wait_outlives_the_death_of_its_server(own_server: Server, key: str) -> None:
    """C7: the server is away for a while. Its data are gone, so the lock is free then."""
    operator = Operator(own_server)
    operator.take(key)
    client = redis.Redis.from_url(own_server.url)
    with Locks(client) as locks, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(locks.lock(key).take)
        until(lambda: operator.waiters(key) == 1)
        own_server.kill()
        time.sleep(1)
        assert not waiting.done()
        assert own_server.start()
        waiting.result(DEADLINE).release()
    client.close()
    operator.client.close()


@pytest.mark.slow
def test_nobody_there(own_server: Server, key: str) -> None:
    own_server.kill()
    with redis.Redis.from_url(own_server.url) as client, Locks(client) as locks:
        for timeout in (0, 0.5):
            with pytest.raises(Unreachable, match="could not be asked for"):
                locks.lock(key, timeout=timeout).take()
        with pytest.raises(Unreachable):
            locks.info(key)


def test_holder_that_cannot_reach_the_server_stops_believing(
    server: Server, relay: Relay, key: str
) -> None:
    told = threading.Event()
    with redis.Redis.from_url(relay.url) as client, Locks(client) as locks:
        hold = locks.lock(key, lease=1.5, on_lost=lambda _: told.set()).take()
        relay.close()
        assert hold.held
        assert told.wait(DEADLINE)
        assert not hold.held and hold.lost_reason == "expired"


def test_pool_at_its_limit(server: Server, operator: Operator, key: str) -> None:
    """C13: 14 waits, and a pool of 10 that is empty, do not keep the release from being sent."""
    pool = redis.ConnectionPool.from_url(server.url, max_connections=10)
    taken = [_connection(pool) for _ in range(10)]
    with Locks(redis.Redis(connection_pool=pool)) as locks:
        with ThreadPoolExecutor(14) as threads:
            with locks.lock(key):
                jobs = [
                    threads.submit(lambda: locks.lock(key, timeout=DEADLINE).take().release())
                    for _ in range(14)
                ]
                until(lambda: operator.waiters(key) == 14)
            for job in jobs:
                job.result()
        assert locks.connections_opened <= 16
    for connection in taken:
        pool.release(connection)
    pool.disconnect()


def _connection(pool: redis.ConnectionPool) -> object:
    try:
        return pool.get_connection()
    except TypeError:  # redis-py 5
        return pool.get_connection("PING")


def test_free_locks_cost_no_connections(locks: Locks, key: str) -> None:
    """C3"""
    for _ in range(1000):
        with locks.lock(key):
            pass
    assert locks.connections_opened <= 3


def test_waits_and_leases_without_end(locks: Locks, operator: Operator, key: str) -> None:
    """C9"""
    with locks.lock(key, lease=365 * 86400, timeout=math.inf) as hold:
        time.sleep(0.3)
        assert hold.held and hold.expires_in > 364 * 86400
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(locks.lock(key, timeout=math.inf).take)
            until(lambda: operator.waiters(key) == 1)
            long = pool.submit(locks.lock(key, timeout=10 * 365 * 86400).take)
            hold.release()
            waiting.result(DEADLINE).release()
            long.result(DEADLINE).release()
        hold._again = 1  # It was released already.


async def test_blocked_event_loop(aio_locks: aio.Locks, key: str) -> None:
    """C10: the first look after it is at the clock."""
    hold = await aio_locks.lock(key, lease=0.5).take()
    time.sleep(1)  # noqa: ASYNC251
    assert not hold.held
    with pytest.raises(NotHeld):
        hold.raise_if_lost()
    told = asyncio.Event()
    hold.on_lost(lambda _: told.set())
    await asyncio.wait_for(told.wait(), DEADLINE)


def test_suspended_machine(locks: Locks, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """C10: the clock is one that goes on meanwhile, where there is one."""
    if hasattr(time, "CLOCK_BOOTTIME"):
        assert abs(_core.lease_clock() - time.clock_gettime(time.CLOCK_BOOTTIME)) < 5
    hold = locks.lock(key, lease=30).take()
    assert hold.held
    real = _core.lease_clock
    with monkeypatch.context() as patch:
        patch.setattr(_hold, "lease_clock", lambda: real() + 31)
        assert not hold.held and hold.expires_in == 0
    hold.release()


@pytest.mark.slow
def test_forked_child_leaves_the_parents_hold_alone(
    locks: Locks, operator: Operator, key: str
) -> None:
    """C14"""
    with locks.lock(key, lease=1.5) as hold:
        child = os.fork()
        if child == 0:
            code = 1
            try:
                with hold:
                    if hold.held or hold.lost_reason != "fork":
                        os._exit(2)
                # The child's own locks work.
                with locks.lock(f"{key}:child", timeout=5) as mine:
                    code = 0 if mine.held and f"/{os.getpid()}/" in mine.owner else 3
            finally:
                os._exit(code)
        _, status = os.waitpid(child, 0)
        assert status == 0
        assert operator.holders(key) == [hold.owner]
        time.sleep(2.5)
        assert hold.held and operator.holders(key) == [hold.owner]


def test_child_does_not_keep_the_parents_session_open(server: Server, key: str) -> None:
    operator = Operator(server)
    ready, go = os.pipe(), os.pipe()
    parent = os.fork()
    if parent == 0:
        locks = Locks(redis.Redis.from_url(server.url))
        locks.lock(key, session=True, lease=600).take()
        if os.fork() == 0:
            os.write(ready[1], b"x")
            os.read(go[0], 1)
        os._exit(0)
    os.waitpid(parent, 0)
    os.read(ready[0], 1)
    until(lambda: operator.is_free(key))
    os.write(go[1], b"x")
    operator.client.close()


def test_errors_have_types(server: Server, locks: Locks, operator: Operator, key: str) -> None:
    operator.client.set(key, "value")
    with pytest.raises(WrongType):
        locks.lock(key, timeout=5).take()
    operator.client.delete(key)
    operator.client.execute_command("ACL", "SETUSER", "guest", "on", ">x", "~mine*", "&*", "+@all")
    with (
        redis.Redis(port=server.port, username="guest", password="x") as client,
        Locks(client) as guest,
    ):
        with guest.lock("mine:1", timeout=5):
            pass
        with pytest.raises(NoPermission):
            guest.lock(key, timeout=5).take()
    operator.client.config_set("redislock.max-lease", 10_000)
    try:
        with pytest.raises(ServerError, match="ERR"):
            locks.lock(key, lease=60, timeout=5).take()
    finally:
        operator.client.config_set("redislock.max-lease", 31_536_000_000)
    operator.client.config_set("redislock.max-holders", 1)
    try:
        with locks.rwlock(key).read(), pytest.raises(TooMany):
            locks.rwlock(key, timeout=5).read().take()
    finally:
        operator.client.config_set("redislock.max-holders", 10_000)


def test_wrong_password(own_server: Server, key: str) -> None:
    with own_server.client() as admin:
        admin.config_set("requirepass", "secret")
    with (
        redis.Redis.from_url(own_server.url) as client,
        Locks(client) as locks,
        pytest.raises((Unreachable, NoPermission), match=r"(?i)auth"),
    ):
        locks.lock(key, timeout=0.5).take()


def test_durable_grants(server: Server, own_server: Server, key: str) -> None:
    replica = Server("--replicaof", f"127.0.0.1 {own_server.port}")
    operator = Operator(own_server)
    try:
        until(lambda: operator.client.info("replication")["connected_slaves"] == 1)
        until(lambda: replica.client().info("replication")["master_link_status"] == "up")
        with redis.Redis.from_url(own_server.url) as client, Locks(client) as locks:
            with locks.lock(key, durable=1, durable_timeout=DEADLINE):
                assert replica.client().exists(key)
            replica.stop()
            with pytest.raises(NotDurable) as found:
                locks.lock(key, durable=1, durable_timeout=0.3, timeout=5).take()
            assert (found.value.confirmed, found.value.wanted) == (0, 1)
            until(lambda: operator.is_free(key))
    finally:
        replica.close()
        operator.client.close()


def test_share_waits(server: Server, operator: Operator, key: str) -> None:
    """A hot lock costs one waiter a process, and is fair within it."""
    order: list[int] = []
    with redis.Redis.from_url(server.url) as client, Locks(client, share_waits=True) as locks:

        def work(number: int) -> None:
            with locks.lock(key, timeout=DEADLINE):
                order.append(number)

        with ThreadPoolExecutor(10) as pool:
            with locks.lock(key):
                jobs = []
                for number in range(10):
                    jobs.append(pool.submit(work, number))
                    time.sleep(0.05)
                assert operator.waiters(key) == 1
            for job in jobs:
                job.result()
        assert order == list(range(10))


@pytest.mark.slow
def test_dropped_hold_ends_with_its_lease(locks: Locks, operator: Operator, key: str) -> None:
    locks.lock(key, lease=1).take()
    until(lambda: operator.is_free(key))


def test_client_that_is_dropped_closes_its_connections(server: Server, key: str) -> None:
    operator = Operator(server)
    ours = [c["id"] for c in operator.client.client_list()]
    locks = Locks(redis.Redis.from_url(server.url), label="dropped")
    with locks.lock(key):
        time.sleep(0.2)
        names = [c["name"] for c in operator.client.client_list() if c["id"] not in ours]
        assert any("dropped" in name for name in names)
        if Path("/proc/self").exists():
            assert any(f"/{os.getpid()}" in name for name in names)
    del locks

    def gone() -> bool:
        return not [c for c in operator.client.client_list() if "dropped" in c["name"]]

    until(gone)
    operator.client.close()
