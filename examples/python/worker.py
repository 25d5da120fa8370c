"""Workers with asyncio that share a pile of work. Each piece is done by one of them, one at a time.

    REDIS_URL=redis://127.0.0.1:6379 python worker.py
"""

import asyncio
import os
import sys

from redis.asyncio import Redis
from redislock_client import NotAcquired, NotHeld
from redislock_client.aio import Locks


async def work(url: str, pieces: list[str], done: list[str]) -> None:
    """Does the pieces that nobody else is at."""
    client = Redis.from_url(url)
    async with Locks(client, label="worker", lease=10) as locks:
        for piece in pieces:
            try:
                async with locks.lock(f"example:piece:{piece}", timeout=0) as hold:
                    # If the lock is lost, the body is cancelled.
                    await asyncio.sleep(0.05)
                    # The resource would compare the fence, and refuse an older one.
                    done.append(f"{piece} {hold.fence}")
            except NotAcquired:
                continue  # Somebody else is at it.
            except NotHeld as lost:
                print(f"{piece} has to be looked at again: {lost}")
    await client.aclose()


async def main() -> None:
    url = os.environ.get("REDIS_URL") or sys.exit("worker.py: set REDIS_URL")
    done: list[str] = []
    pieces = [str(number) for number in range(10)]
    await asyncio.gather(*(work(url, pieces, done) for _ in range(3)))
    print("\n".join(done))


if __name__ == "__main__":
    asyncio.run(main())
