"""Locks of redis-lock for redis-py 8 with asyncio.

    async with lock(client, "orders:42", lease=10, wait=5) as hold:
        await write_to_the_resource(fence=hold.fence)

The body is cancelled when the hold is lost, in the manner of asyncio.timeout: when the lease is
over. With `renew=True` the lease is extended in the background while the body runs.
"""

import asyncio
import math
import uuid
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

from redis import exceptions
from redis.asyncio import Redis

# An answer may take this much longer than the wait, in seconds.
ANSWER_MARGIN = 5.0

T = TypeVar("T")


class NotAcquired(Exception):
    """Others held the lock all the time one was ready to wait."""


class NotHeld(Exception):
    """The hold had ended before: by its lease, or by an operator.

    Others may have held the lock since. After a lost reply redis-py sends a command again, and
    a second release finds nothing: that is told as NotHeld too.
    """


@asynccontextmanager
async def lock(
    client: Redis, key: str, *, lease: float, wait: float = 0, renew: bool = False
) -> AsyncIterator["Hold"]:
    """Holds the lock `key` while the body runs. All times are in seconds.

    Raises NotAcquired if it is not granted within `wait`, and NotHeld if the hold ended before the
    body did.
    """
    # The body has time until the lease is over; each extension moves that.
    limit = asyncio.timeout(None)
    hold = Hold(client, key, lease, limit)
    sent = _now()
    if not await hold._acquire(sent + wait):
        raise NotAcquired(key)
    try:
        async with limit:
            await hold._begin(sent)
            renewal = asyncio.create_task(hold._renew()) if renew else None
            try:
                yield hold
            finally:
                if renewal:
                    renewal.cancel()
    except BaseException as error:
        # What the body raised is what the caller has to see.
        with suppress(exceptions.RedisError):
            await hold._release()
        if limit.expired() and isinstance(error, TimeoutError):
            raise NotHeld(key) from error
        raise
    if not await hold._release():
        raise NotHeld(key)


class Hold:
    """A hold of one lock, made by `lock`."""

    def __init__(self, client: Redis, key: str, lease: float, limit: asyncio.Timeout) -> None:
        self.key = key
        # A new owner for each acquisition: whatever is sent twice after a lost reply is harmless,
        # and nothing that arrives late can end somebody else's hold.
        self.owner = uuid.uuid4().hex
        # For the resource: it remembers the largest it saw and refuses smaller ones.
        self.fence = 0
        self._client = client
        self._lease = lease
        self._limit = limit

    async def extend(self) -> None:
        """Makes the lease start anew. Raises NotHeld if the hold has ended."""
        # Counted from the sending, so that it never ends later here than in the server.
        sent = _now()
        is_held = await self._send("LOCK.EXTEND", "PX", _ms(self._lease))
        if not self._limit.expired():
            self._limit.reschedule(sent + self._lease if is_held else sent)
        if not is_held:
            raise NotHeld(self.key)

    async def _acquire(self, deadline: float) -> bool:
        try:
            fence = await _cancellable(self._ask(deadline))
        except BaseException:
            # Cancelled, or no answer: the grant may be on its way. A release ends the hold or
            # withdraws the wait, and is harmless if there is neither.
            with suppress(exceptions.RedisError):
                await self._release()
            raise
        self.fence = fence or 0
        return fence is not None

    async def _ask(self, deadline: float) -> int | None:
        # A wait keeps a connection busy to its end, so it takes one of the pool for itself, also
        # if the client is a single_connection_client. A pool needs more connections than there
        # are waits (max_connections, 100 if left out), or none is left for the release.
        pool = self._client.connection_pool
        connection = await pool.get_connection()

        async def ask() -> Any:
            left = max(0.0, deadline - _now())
            block = ("BLOCK", _ms(left)) if left else ()
            px = _ms(self._lease)
            # The client's socket_timeout (5 seconds if left out) would cut longer waits off, and
            # each repetition would stand at the end of the line. So this read has its own.
            try:
                async with asyncio.timeout(left + ANSWER_MARGIN):
                    await connection.send_command(
                        "LOCK.ACQUIRE", self.key, self.owner, "PX", px, *block
                    )
                    return await connection.read_response(timeout=math.inf)
            except TimeoutError as error:
                raise exceptions.TimeoutError("no answer to LOCK.ACQUIRE") from error

        try:
            # How often it asks again after a lost connection is said by the client's Retry, as
            # for every other command.
            fence: int | None = await connection.retry.call_with_retry(
                ask, lambda _: connection.disconnect(nowait=True)
            )
            return fence
        except BaseException:
            # The answer may still come, and must not be read by the next user.
            await connection.disconnect(nowait=True)
            raise
        finally:
            await pool.release(connection)

    async def _begin(self, sent: float) -> None:
        # The lease began with the grant, at some time since `sent`. After a long wait an extension
        # makes sure how much of it is left.
        if _now() - sent > self._lease / 3:
            await self.extend()
        else:
            self._limit.reschedule(sent + self._lease)

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(self._lease / 3)
            try:
                await self.extend()
            except NotHeld:
                return
            except exceptions.RedisError:
                continue  # It may be held still: ask again while there is time.

    async def _release(self) -> bool:
        return bool(await self._send("LOCK.RELEASE"))

    async def _send(self, command: str, *options: str | int) -> Any:
        return await _cancellable(
            self._client.execute_command(command, self.key, self.owner, *options)
        )


async def _cancellable(answer: Awaitable[T]) -> T:
    # Before Python 3.12 asyncio.wait_for, with which redis-py sends, swallows a cancellation that
    # comes just when it is done.
    task = asyncio.current_task()
    before = task.cancelling() if task else 0
    result = await answer
    if task and task.cancelling() > before:
        raise asyncio.CancelledError
    return result


def _now() -> float:
    return asyncio.get_running_loop().time()


def _ms(seconds: float) -> int:
    return math.ceil(seconds * 1000)
