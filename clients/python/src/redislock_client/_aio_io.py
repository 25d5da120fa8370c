"""asyncio under the engine."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections import deque
from collections.abc import Coroutine, Sequence
from typing import Any, Callable, Optional

from redis.exceptions import RedisError, ResponseError

from ._core import Command, LinkError, Refused, ReplyError, link_error, server_text
from ._dial import Dialer, Endpoint
from ._io import NOTHING, Channel, Event, Link, Mutex, Outstanding, Pending, is_push

logger = logging.getLogger("redislock_client")

# Event loops refuse longer timers, or overflow.
_LONGEST = 24 * 3600.0


class AioEvent:
    """Callers wait on futures of their own, so that no cancellation is lost (see bpo-37658)."""

    def __init__(self) -> None:
        self._set = False
        self._waiters: set[asyncio.Future[None]] = set()

    def set(self) -> None:
        self._set = True
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    def clear(self) -> None:
        self._set = False

    def is_set(self) -> bool:
        return self._set

    async def wait(self, timeout: Optional[float]) -> bool:
        if self._set:
            return True
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.add(waiter)
        try:
            await asyncio.wait({waiter}, timeout=_limit(timeout))
        finally:
            self._waiters.discard(waiter)
            waiter.cancel()
        return self._set


class AioMutex:
    """Hands itself over to whoever waits longest."""

    def __init__(self) -> None:
        self._taken = False
        self._queue: deque[asyncio.Future[None]] = deque()

    async def acquire(self, timeout: Optional[float]) -> bool:
        if not self._taken:
            self._taken = True
            return True
        turn = asyncio.get_running_loop().create_future()
        self._queue.append(turn)
        try:
            await asyncio.wait({turn}, timeout=_limit(timeout))
        except asyncio.CancelledError:
            if not self._leave(turn):
                self.release()
            raise
        return not self._leave(turn)

    def release(self) -> None:
        if self._queue:
            self._queue.popleft().set_result(None)
        else:
            self._taken = False

    def _leave(self, turn: asyncio.Future[None]) -> bool:
        if turn in self._queue:
            self._queue.remove(turn)
            turn.cancel()
            return True
        return False


class AioLink:
    """One connection of redis-py.

    Sending and reading are tasks of their own: whoever waits for a reply can be cancelled at any
    moment, and the connection stays whole.
    """

    def __init__(self, connection: Any, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.owed = 0
        self.closed = False
        self._connection = connection
        self._read: Optional[asyncio.Task[Any]] = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._outbox: list[Command] = []

    def send(self, commands: Sequence[Command]) -> None:
        if self.closed:
            raise LinkError("the connection is closed")
        self.owed += len(commands)
        # One task sends all that comes up in one turn of the loop.
        if not self._outbox:
            self._start(self._send())
        self._outbox += commands

    async def recv(self, timeout: Optional[float]) -> Any:
        if self.closed:
            raise LinkError("the connection is closed")
        if timeout is None and self._read is None:
            # The task of a channel. Nobody cancels it before it is done.
            return self._took(await self._response())
        if self._read is None:
            self._read = asyncio.ensure_future(self._response())
        if not self._read.done():
            await asyncio.wait({self._read}, timeout=_limit(timeout))
        if self._read is None or self._read.cancelled():
            raise LinkError("the connection was closed")
        if not self._read.done():
            return NOTHING
        reply = self._read.result()
        self._read = None
        return self._took(reply)

    def _took(self, reply: Any) -> Any:
        if isinstance(reply, LinkError):
            self.close()
            raise reply
        self.owed -= 1
        return reply

    def close(self) -> None:
        if self.closed:
            return
        self.closed = True
        if self._read is not None:
            self._read.cancel()
        try:
            self._start(self._disconnect())
        except RuntimeError:  # The loop is closed, and the sockets with it.
            logger.debug("the event loop ended before a connection was closed")

    def forked(self) -> None:
        """In a forked child: puts something harmless in the place of its copy of the socket.

        The transport must not be closed: the child shares the parent's poll descriptor.
        """
        self.closed = True
        writer = getattr(self._connection, "_writer", None)
        sock = writer.get_extra_info("socket") if writer is not None else None
        if sock is None or sock.fileno() < 0:
            return
        null = os.open(os.devnull, os.O_RDWR)
        try:
            os.dup2(null, sock.fileno())
        finally:
            os.close(null)

    async def _send(self) -> None:
        commands, self._outbox = self._outbox, []
        try:
            packed = self._connection.pack_commands(commands)
            await self._connection.send_packed_command(packed, check_health=False)
        except (RedisError, OSError, AttributeError, RuntimeError) as error:
            logger.debug("sending to %s failed: %s", self.endpoint, error)
            self.close()

    async def _response(self) -> Any:
        try:
            return await self._connection.read_response(disconnect_on_error=False)
        except ResponseError as error:
            return ReplyError(server_text(error))
        except asyncio.CancelledError:
            raise
        except Exception as error:
            return LinkError(server_text(error) or "the connection was closed")

    async def _disconnect(self) -> None:
        try:
            await self._connection.disconnect(nowait=True)
        except Exception:
            logger.debug("closing a connection failed", exc_info=True)

    def _start(self, job: Coroutine[Any, Any, Any]) -> None:
        try:
            task = asyncio.get_running_loop().create_task(job)
        except RuntimeError:
            job.close()
            raise
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class AioChannel:
    """A connection that many tasks share, and a task that reads it."""

    def __init__(self, link: Link, on_push: Optional[Callable[[Any], None]]) -> None:
        self.link = link
        self.closed = False
        self._retired = False
        self._outstanding = Outstanding()
        self._on_push = on_push
        self._reader = asyncio.ensure_future(self._read())

    def post(
        self, commands: Sequence[Command], then: Optional[Callable[[Pending], None]] = None
    ) -> Pending:
        if self.closed:
            raise LinkError("the connection was closed")
        pending = Pending(len(commands), AioEvent(), then)
        self.link.send(commands)
        self._outstanding.push(pending)
        return pending

    def retire(self) -> None:
        self._retired = True

    def close(self, why: str) -> None:
        if not self.closed:
            self.closed = True
            self.link.close()
            self._outstanding.fail(LinkError(why))

    async def _read(self) -> None:
        while True:
            try:
                reply = await self.link.recv(None)
            except LinkError as error:
                self.close(str(error))
                break
            if reply is NOTHING:
                continue
            if self._on_push is not None and is_push(reply):
                self._on_push(reply[2])
                continue
            self._outstanding.reply(reply)
            if self._retired and not self._outstanding:
                self.close("it was retired")
        if self._on_push is not None:
            self._on_push(NOTHING)


class AioRuntime:
    def __init__(self, dialer: Dialer) -> None:
        self._dialer = dialer
        self._tasks: set[asyncio.Future[Any]] = set()

    def now(self) -> float:
        return time.monotonic()

    def event(self) -> Event:
        return AioEvent()

    def mutex(self) -> Mutex:
        return AioMutex()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(0.0, seconds))

    def spawn(self, job: Coroutine[Any, Any, None], name: str) -> None:
        try:
            self._keep(asyncio.get_running_loop().create_task(job))
        except RuntimeError:
            job.close()

    async def connect(self, endpoint: Endpoint, timeout: float) -> Link:
        try:
            connection = self._dialer.connection(endpoint, timeout, None)
            return await self._open(connection, endpoint, timeout)
        except Refused as error:
            if not (error.text.startswith("NOPERM") and self._dialer.without_name()):
                raise
        connection = self._dialer.connection(endpoint, timeout, None)
        return await self._open(connection, endpoint, timeout)

    async def connect_sentinel(self, index: int, timeout: float) -> Link:
        connection = self._dialer.sentinel_connection(index, timeout, None)
        endpoint = self._dialer.target.endpoints[index]
        return await self._open(connection, endpoint, timeout)

    def channel(self, link: Link, on_push: Optional[Callable[[Any], None]]) -> Channel:
        return AioChannel(link, on_push)

    def shield(self, job: Coroutine[Any, Any, Any], timeout: float) -> Any:
        return self._shielded(asyncio.ensure_future(job), timeout)

    async def _shielded(self, task: asyncio.Task[Any], timeout: float) -> Any:
        self._keep(task)
        await asyncio.wait({task}, timeout=_limit(timeout))
        return task.result() if task.done() else None

    async def _open(self, connection: Any, endpoint: Endpoint, timeout: float) -> Link:
        # A task of its own: a cancelled caller must not leave half an open connection.
        opening = asyncio.ensure_future(connection.connect())
        try:
            await asyncio.wait({opening}, timeout=timeout)
            if not opening.done():
                raise LinkError(f"{endpoint} did not answer in {timeout:g} s")
            opening.result()
        except (RedisError, OSError, RuntimeError) as error:
            self._discard(connection, opening)
            raise link_error(error) from error
        except LinkError:
            self._discard(connection, opening)
            raise
        except BaseException:
            self._discard(connection, opening)
            raise
        return AioLink(connection, endpoint)

    def _discard(self, connection: Any, opening: asyncio.Future[Any]) -> None:
        async def end() -> None:
            opening.cancel()
            await asyncio.wait({opening})
            if not opening.cancelled():
                opening.exception()
            try:
                await connection.disconnect(nowait=True)
            except Exception:
                logger.debug("closing a connection failed", exc_info=True)

        self._keep(asyncio.ensure_future(end()))

    def _keep(self, task: asyncio.Future[Any]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _limit(timeout: Optional[float]) -> Optional[float]:
    return _LONGEST if timeout is None else max(0.0, min(timeout, _LONGEST))
