"""redis-py's interface, where its own tests do not look. tests/redis_py/run.sh runs those."""

from __future__ import annotations

import time

import pytest
import redis
import redis.asyncio
import redis.lock
from redis.exceptions import LockError

from redislock_client.redis_py import AsyncLock, Lock
from servers import Operator, Server, until


def test_change_of_one_argument(server: Server, operator: Operator, key: str) -> None:
    client = redis.Redis.from_url(server.url)
    with client.lock(key, timeout=10, lock_class=Lock) as lock:
        assert isinstance(lock, redis.lock.Lock) and lock.fence > 0
        other = client.lock(key, blocking_timeout=0.2, lock_class=Lock)
        began = time.monotonic()
        assert not other.acquire() and time.monotonic() - began >= 0.2
        with pytest.raises(LockError), other:
            pass
        assert operator.holders(key) == [lock.local.token.decode()]
    assert operator.is_free(key)
    client.close()


def test_lock_without_time_out_is_renewed(server: Server, operator: Operator, key: str) -> None:
    client = redis.Redis.from_url(server.url)
    lock = client.lock(key, lock_class=Lock)
    assert lock.acquire() and lock.hold._state.renew
    lock.release()
    client.close()


async def test_asyncio(server: Server, operator: Operator, key: str) -> None:
    client = redis.asyncio.Redis.from_url(server.url)
    async with client.lock(key, timeout=10, lock_class=AsyncLock) as lock:
        assert await lock.owned() and await lock.locked()
        other = client.lock(key, blocking_timeout=0.1, lock_class=AsyncLock)
        assert not await other.acquire()
    until(lambda: operator.is_free(key))
    await client._redislock_client_locks.close()  # type: ignore[attr-defined]
    await getattr(client, "aclose", client.close)()
