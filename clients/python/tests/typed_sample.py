"""What a user with mypy --strict may write. test_package.py has mypy read it."""

from __future__ import annotations

import asyncio

import redis
import redis.asyncio

from redislock_client import Hold, LockInfo, Locks, NotAcquired, aio
from redislock_client.fake import FakeServer

locks = Locks(redis.Redis(), label="orders", lease=10)


@locks.lock("report")
def add(a: int, b: int) -> int:
    return a + b


@locks.once("nightly", 3600)
def nightly() -> str:
    return "done"


def use() -> int:
    result: int = add(1, 2)
    report: str | None = nightly()
    try:
        with locks.lock("orders:42", timeout=5, on_lost=lost) as hold:
            fence: int = hold.fence
            left: float = hold.expires_in
            hold.raise_if_lost()
    except NotAcquired:
        return -1
    with locks.rwlock("k").read() as reader, locks.semaphore("s", 5, weight=2):
        reader.extend(3)
    with locks.multi(["a", "b"]) as both:
        print(list(both.fences), left, report)
    info: LockInfo | None = locks.info("k")
    if info is not None:
        owner: str = info.holders[0].owner
        print(owner)
    return fence + result


def lost(hold: Hold) -> None:
    print(hold.lost_reason)


async def use_asyncio() -> None:
    async with aio.Locks(redis.asyncio.Redis()) as client:
        async with client.lock("orders:42") as hold:
            await hold.extend(5)
        async for entry in client.list(match="orders:*"):
            print(entry.key, entry.waiters)
        observation = client.leader("l").observe()
        async for leader in observation:
            name: str | None = leader
            print(name)


def fake() -> Locks:
    return FakeServer().locks()


if __name__ == "__main__":
    asyncio.run(use_asyncio())
