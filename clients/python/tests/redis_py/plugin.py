"""A plugin for pytest: redis-py's own tests of its Lock, over redislock_client.redis_py.

The tests look at the key with GET, TTL and PTTL, and shorten it with PEXPIRE. At a lock these
commands mean something else. So here they show what LOCK.INFO says: GET the owner, PTTL the time
that is left of the lease, unless the lock has no time-out. Nothing else is changed.
"""

from __future__ import annotations

import weakref
from typing import Any

import pytest
import redis
import redis.asyncio
from redis.exceptions import ResponseError

from redislock_client.redis_py import AsyncLock, Lock

POLLING = "it counts the sleeps of a lock that polls; this one waits in the server's queue"
DESELECTED = {
    "test_blocking_timeout": POLLING,
    "test_context_manager_blocking_timeout": POLLING,
    "test_high_sleep_small_blocking_timeout": POLLING,
}
MADE: weakref.WeakSet[Any] = weakref.WeakSet()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    kept, left_out = [], []
    for item in items:
        name = item.name.split("[")[0]
        reason = DESELECTED.get(name)
        if reason:
            left_out.append(item)
            print(f"deselected: {item.name}: {reason}")
        else:
            kept.append(item)
        module: Any = item.module  # type: ignore[attr-defined]
        module.Lock = AsyncLock if "test_asyncio" in str(item.path) else Lock
    items[:] = kept
    config.hook.pytest_deselected(items=left_out)


def holder(info: Any) -> dict[str, Any]:
    def name(value: Any) -> str:
        return value.decode() if isinstance(value, bytes) else str(value)

    pairs = info.items() if isinstance(info, dict) else zip(info[::2], info[1::2])
    holders = next(value for key, value in pairs if name(key) == "holders")
    first = holders[0]
    pairs = first.items() if isinstance(first, dict) else zip(first[::2], first[1::2])
    return {name(key): value for key, value in pairs}


def left(key: str, info: Any) -> int:
    ms = int(holder(info)["ttl"])
    untimed = any(lock.name == key and lock.timeout is None and lock.hold for lock in list(MADE))
    return -1 if untimed else ms


def token(client: Any, info: Any) -> Any:
    owner = holder(info)["owner"]
    wants_text = client.get_encoder().decode_responses
    if isinstance(owner, bytes):
        return owner.decode() if wants_text else owner
    return owner if wants_text else owner.encode()


def record(cls: Any) -> None:
    begin = cls.__init__

    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        begin(self, *args, **kwargs)
        MADE.add(self)

    cls.__init__ = init


def seconds(ms: int) -> int:
    return ms if ms < 0 else (ms + 500) // 1000


def patch() -> None:
    record(Lock)
    record(AsyncLock)
    sync, aio = redis.Redis, redis.asyncio.Redis
    get, pexpire, aget, apexpire = sync.get, sync.pexpire, aio.get, aio.pexpire

    def looked(self: Any, key: str) -> Any:
        try:
            return self.execute_command("LOCK.INFO", key)
        except ResponseError:
            return None

    async def alooked(self: Any, key: str) -> Any:
        try:
            return await self.execute_command("LOCK.INFO", key)
        except ResponseError:
            return None

    def get_(self: Any, key: str) -> Any:
        info = looked(self, key)
        return token(self, info) if info else get(self, key)

    async def aget_(self: Any, key: str) -> Any:
        info = await alooked(self, key)
        return token(self, info) if info else await aget(self, key)

    def pexpire_(self: Any, key: str, ms: int) -> Any:
        info = looked(self, key)
        if not info:
            return pexpire(self, key, ms)
        return self.execute_command("LOCK.EXTEND", key, holder(info)["owner"], "PX", ms)

    async def apexpire_(self: Any, key: str, ms: int) -> Any:
        info = await alooked(self, key)
        if not info:
            return await apexpire(self, key, ms)
        return await self.execute_command("LOCK.EXTEND", key, holder(info)["owner"], "PX", ms)

    def pttl_(self: Any, key: str) -> int:
        return left(key, looked(self, key))

    async def apttl_(self: Any, key: str) -> int:
        return left(key, await alooked(self, key))

    def ttl_(self: Any, key: str) -> int:
        return seconds(pttl_(self, key))

    async def attl_(self: Any, key: str) -> int:
        return seconds(await apttl_(self, key))

    changes: Any = sync
    changes.get, changes.pexpire, changes.pttl, changes.ttl = get_, pexpire_, pttl_, ttl_
    changes = aio
    changes.get, changes.pexpire, changes.pttl, changes.ttl = aget_, apexpire_, apttl_, attl_


patch()
