"""Redis Cluster: cold keys, a slot that moves under a wait, a primary that hangs or dies."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis
import redis.asyncio.cluster

from redislock_client import Locks, ServerError, aio
from redislock_client._core import key_slot
from servers import DEADLINE, Operator, Server, until

pytestmark = pytest.mark.slow


class Cluster:
    """Three primaries, and a replica of the first."""

    def __init__(self) -> None:
        options = ["--cluster-enabled", "yes", "--cluster-node-timeout", "1500"]
        options += ["--cluster-require-full-coverage", "no"]
        self.nodes = [Server(*options) for _ in range(4)]
        try:
            self._join()
        except BaseException:
            self.close()
            raise

    def _join(self) -> None:
        ports = [node.port for node in self.nodes]
        for number, node in enumerate(self.nodes[:3]):
            first, last = number * 16384 // 3, (number + 1) * 16384 // 3 - 1
            node.client().execute_command("CLUSTER", "ADDSLOTSRANGE", first, last)
            node.client().execute_command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for port in ports[1:]:
            self.nodes[0].client().execute_command("CLUSTER", "MEET", "127.0.0.1", port)
        until(lambda: all(self._knows_all(node) for node in self.nodes))
        self.replica = self.nodes[3].client()
        first = self.id(self.nodes[0])
        until(lambda: self._replicates(first))
        until(lambda: self.replica.info("replication")["master_link_status"] == "up")
        until(lambda: all(self._info(n)["cluster_state"] == "ok" for n in self.nodes))

    def id(self, node: Server) -> str:
        return str(node.client().execute_command("CLUSTER", "MYID"))

    def key_of(self, number: int, name: str) -> str:
        """A key that the node of this number has."""
        return next(
            f"{name}:{n}" for n in range(1000) if key_slot(f"{name}:{n}") * 3 // 16384 == number
        )

    def close(self) -> None:
        for node in self.nodes:
            node.close()

    def _info(self, node: Server) -> dict[str, str]:
        info: dict[str, str] = node.client(protocol=2).execute_command("CLUSTER INFO")
        return info

    def _knows_all(self, node: Server) -> bool:
        return self._info(node)["cluster_known_nodes"] == "4"

    def _replicates(self, first: str) -> bool:
        try:
            self.replica.execute_command("CLUSTER", "REPLICATE", first)
        except redis.ResponseError:
            return False
        return True


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    cluster = Cluster()
    yield cluster
    cluster.close()


@pytest.fixture
def locks(cluster: Cluster) -> Iterator[Locks]:
    client = redis.RedisCluster(host="127.0.0.1", port=cluster.nodes[1].port)
    with Locks(client) as locks:
        yield locks
    client.close()


def test_cold_keys(locks: Locks) -> None:
    """C4"""
    for number in range(500):
        with locks.lock(f"cold:{number}"):
            pass
    assert locks.connections_opened <= 8
    with locks.lock("{a}:1"), locks.multi(["{a}:2", "{a}:3"]):
        names = {entry.key.decode() for entry in locks.list(match="{a}:*")}
        assert names == {"{a}:1", "{a}:2", "{a}:3"}
    with pytest.raises(ServerError, match="CROSSSLOT"):
        locks.multi(["a", "b"], timeout=1).take()


async def test_asyncio(cluster: Cluster) -> None:
    client = redis.asyncio.cluster.RedisCluster(host="127.0.0.1", port=cluster.nodes[2].port)
    async with aio.Locks(client) as locks:
        holds = [await locks.lock(f"aio:{n}", lease=1.2).take() for n in range(30)]
        await asyncio.sleep(2)
        assert all(hold.held for hold in holds)
        for hold in holds:
            await hold.release()
    await getattr(client, "aclose", client.close)()


def test_slot_moves_under_a_wait(cluster: Cluster, locks: Locks) -> None:
    key = cluster.key_of(1, "moves")
    slot, old, new = key_slot(key), cluster.nodes[1], cluster.nodes[2]
    operator = Operator(old)
    operator.take(key)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(locks.lock(key).take)
        until(lambda: operator.waiters(key) == 1)
        new.client().execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", cluster.id(old))
        old.client().execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", cluster.id(new))
        old.client().execute_command("MIGRATE", "127.0.0.1", new.port, key, 0, 5000)
        for node in (new, old):
            node.client().execute_command("CLUSTER", "SETSLOT", slot, "NODE", cluster.id(new))
        there = Operator(new)
        until(lambda: there.waiters(key) == 1)
        assert there.release(key)
        waiting.result(DEADLINE).release()


def test_primary_that_hangs(cluster: Cluster, locks: Locks) -> None:
    """C2"""
    key = cluster.key_of(0, "hangs")
    operator, there = Operator(cluster.nodes[0]), Operator(cluster.nodes[3])
    operator.take(key)
    held = locks.lock(cluster.key_of(0, "held"), lease=20).take()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(locks.lock(key).take)
        until(lambda: operator.waiters(key) == 1)
        time.sleep(0.5)
        cluster.nodes[0].stop()
        until(lambda: cluster.replica.info("replication")["role"] == "master")
        until(lambda: there.waiters(key) == 1)
        assert there.release(key)
        waiting.result(DEADLINE).release()
    until(lambda: held.expires_in > 12)
    held.release()
    cluster.nodes[0].go_on()
