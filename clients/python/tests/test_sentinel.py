"""Sentinel: the primary dies, hangs, or is replaced by plan, while clients wait and hold."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import redis
import redis.asyncio.sentinel
import redis.sentinel

from redislock_client import Locks, aio
from servers import DEADLINE, Operator, Server, until

pytestmark = pytest.mark.slow


class Deployment:
    def __init__(self) -> None:
        self.primary = Server()
        self.replica = Server("--replicaof", f"127.0.0.1 {self.primary.port}")
        text = (
            f"sentinel monitor main 127.0.0.1 {self.primary.port} 1\n"
            "sentinel down-after-milliseconds main 1500\n"
            "sentinel failover-timeout main 6000\n"
        )
        self.sentinel = Server(sentinel=text)
        try:
            self._join()
        except BaseException:
            self.close()
            raise

    def _join(self) -> None:
        replica = self.replica.client()
        until(lambda: replica.info("replication")["master_link_status"] == "up")
        until(lambda: self._state()["num-slaves"] == 1)

    def _state(self) -> Any:
        return self.sentinel.client(protocol=2).sentinel_master("main")

    def promoted(self) -> bool:
        return bool(self.replica.client().info("replication")["role"] == "master")

    def close(self) -> None:
        for server in (self.sentinel, self.replica, self.primary):
            server.close()


@pytest.fixture
def deployment() -> Iterator[Deployment]:
    deployment = Deployment()
    yield deployment
    deployment.close()


@pytest.mark.parametrize("how", ["hangs", "dies"])
def test_wait_goes_on_at_the_new_primary(deployment: Deployment, how: str) -> None:
    """C2, C7: a wait without limit, and a hold that is renewed meanwhile."""
    sentinel = redis.sentinel.Sentinel([("127.0.0.1", deployment.sentinel.port)])
    with Locks(sentinel.master_for("main")) as locks, ThreadPoolExecutor(1) as pool:
        operator = Operator(deployment.primary)
        operator.take("k", ms=600_000)
        held = locks.lock("other", lease=20).take()
        waiting = pool.submit(locks.lock("k").take)
        until(lambda: operator.waiters("k") == 1)
        with deployment.replica.client() as replica:
            until(lambda: replica.exists("k", "other") == 2)
        if how == "hangs":
            deployment.primary.stop()
        else:
            deployment.primary.kill()
        until(deployment.promoted)
        new = Operator(deployment.replica)
        until(lambda: new.waiters("k") == 1)
        assert new.release("k")
        waiting.result(DEADLINE).release()
        until(lambda: held.expires_in > 12)
        assert held.check() is not None
        held.release()


async def test_planned_failover_with_asyncio(deployment: Deployment) -> None:
    sentinel = redis.asyncio.sentinel.Sentinel([("127.0.0.1", deployment.sentinel.port)])
    async with aio.Locks(sentinel.master_for("main")) as locks:
        operator = Operator(deployment.primary)
        operator.take("k")
        task = asyncio.ensure_future(locks.lock("k").take())
        await asyncio.to_thread(until, lambda: operator.waiters("k") == 1)
        deployment.sentinel.client().execute_command("SENTINEL", "FAILOVER", "main")
        await asyncio.to_thread(until, deployment.promoted)
        new = Operator(deployment.replica)
        await asyncio.to_thread(until, lambda: new.waiters("k") == 1)
        assert new.release("k")
        await (await task).release()
