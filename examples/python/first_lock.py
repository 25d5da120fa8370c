"""The first lock of the README: plain redis-py, no helper."""

import uuid
from collections.abc import Callable

import redis


def with_lock(client: redis.Redis, key: str, write: Callable[[int], None]) -> None:
    owner = uuid.uuid4().hex  # a new owner for each acquisition
    fence = client.execute_command("LOCK.ACQUIRE", key, owner, "PX", 30_000, "BLOCK", 10_000)
    if fence is None:
        raise TimeoutError(f"others held {key} for 10 seconds")
    try:
        write(fence)  # the resource rejects a fence below the largest one it has seen
    finally:
        client.execute_command("LOCK.RELEASE", key, owner, "FENCE", fence)
