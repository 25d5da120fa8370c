"""Blocking sockets and threads under the engine."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Coroutine, Sequence
from typing import Any, Callable, Optional, TypeVar

from redis.exceptions import RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeout

from ._core import Command, LinkError, Refused, ReplyError, link_error, server_text
from ._dial import Dialer, Endpoint
from ._io import NOTHING, Channel, Event, Link, Mutex, Outstanding, Pending, is_push

T = TypeVar("T")

logger = logging.getLogger("redislock_client")

# A thread waits in pieces of this length: no lock of the interpreter takes more than about 292
# years, and some take less.
_LONGEST = 24 * 3600.0


def run(job: Coroutine[Any, Any, T]) -> T:
    """Carries a coroutine of the engine through. Everything in it blocks instead of suspending."""
    try:
        job.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    job.close()
    raise RuntimeError("a blocking call was suspended")


class SyncEvent:
    def __init__(self) -> None:
        self._event = threading.Event()

    def set(self) -> None:
        self._event.set()

    def clear(self) -> None:
        self._event.clear()

    def is_set(self) -> bool:
        return self._event.is_set()

    async def wait(self, timeout: Optional[float]) -> bool:
        return self._event.wait(_LONGEST if timeout is None else max(0.0, min(timeout, _LONGEST)))


class SyncMutex:
    """Hands itself over to whoever waits longest."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._taken = False
        self._queue: deque[threading.Event] = deque()

    async def acquire(self, timeout: Optional[float]) -> bool:
        with self._guard:
            if not self._taken:
                self._taken = True
                return True
            turn = threading.Event()
            self._queue.append(turn)
        try:
            came = turn.wait(_LONGEST if timeout is None else max(0.0, min(timeout, _LONGEST)))
        except BaseException:
            self._leave(turn)
            raise
        return came or self._leave(turn, keep=True)

    def release(self) -> None:
        with self._guard:
            if self._queue:
                self._queue.popleft().set()
            else:
                self._taken = False

    def _leave(self, turn: threading.Event, keep: bool = False) -> bool:
        with self._guard:
            if turn in self._queue:
                self._queue.remove(turn)
                return False
        if not keep:
            self.release()
        return True


class SyncLink:
    """One connection of redis-py, read by one thread at a time."""

    def __init__(self, connection: Any, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.owed = 0
        self.closed = False
        self._connection = connection

    def send(self, commands: Sequence[Command]) -> None:
        if self.closed:
            raise LinkError("the connection is closed")
        self.owed += len(commands)
        connection = self._connection
        try:
            packed = connection.pack_commands(commands)
            connection.send_packed_command(packed, check_health=False)
        except (RedisError, OSError, AttributeError) as error:
            self.close()
            raise LinkError(str(error)) from error
        except BaseException:
            # Half a command may have been sent.
            self.close()
            raise

    async def recv(self, timeout: Optional[float]) -> Any:
        if self.closed:
            raise LinkError("the connection is closed")
        try:
            if timeout is not None and not self._connection.can_read(max(0.0, timeout)):
                return NOTHING
            reply = self._connection.read_response(disconnect_on_error=False)
        except ResponseError as error:
            reply = ReplyError(server_text(error))
        except RedisTimeout:
            return NOTHING
        except (RedisError, OSError, AttributeError, ValueError, TypeError) as error:
            # The last three: another thread closed it meanwhile.
            self.close()
            raise LinkError(server_text(error) or "the connection was closed") from error
        self.owed -= 1
        return reply

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            try:
                self._connection.disconnect()
            except Exception:  # Another thread reads it.
                logger.debug("closing a connection failed", exc_info=True)

    def forked(self) -> None:
        """In a forked child: closes its copy of the socket. redis-py shuts nothing down then."""
        self.close()


class SyncChannel:
    """A connection that many threads share, and a thread that reads it."""

    def __init__(self, link: Link, on_push: Optional[Callable[[Any], None]]) -> None:
        self.link = link
        self.closed = False
        self._lock = threading.Lock()
        self._retired = False
        self._outstanding = Outstanding()
        self._on_push = on_push
        thread = threading.Thread(target=self._read, name="redis-lock reader", daemon=True)
        thread.start()

    def post(
        self, commands: Sequence[Command], then: Optional[Callable[[Pending], None]] = None
    ) -> Pending:
        pending = Pending(len(commands), SyncEvent(), then)
        with self._lock:
            if self.closed:
                raise LinkError("the connection was closed")
            self._outstanding.push(pending)
            try:
                self.link.send(commands)
            except BaseException as error:
                self._end(str(error))
                raise
        return pending

    def retire(self) -> None:
        self._retired = True

    def close(self, why: str) -> None:
        with self._lock:
            self._end(why)

    def _read(self) -> None:
        while True:
            try:
                reply = run(self.link.recv(None))
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

    def _end(self, why: str) -> None:
        if not self.closed:
            self.closed = True
            self.link.close()
            self._outstanding.fail(LinkError(why))


class SyncRuntime:
    def __init__(self, dialer: Dialer) -> None:
        self._dialer = dialer

    def now(self) -> float:
        return time.monotonic()

    def event(self) -> Event:
        return SyncEvent()

    def mutex(self) -> Mutex:
        return SyncMutex()

    async def sleep(self, seconds: float) -> None:
        time.sleep(max(0.0, seconds))  # noqa: ASYNC251

    def spawn(self, job: Coroutine[Any, Any, None], name: str) -> None:
        threading.Thread(target=run, args=(job,), name=f"redis-lock {name}", daemon=True).start()

    async def connect(self, endpoint: Endpoint, timeout: float) -> Link:
        try:
            return self._open(self._dialer.connection(endpoint, timeout, timeout), endpoint)
        except Refused as error:
            if not (error.text.startswith("NOPERM") and self._dialer.without_name()):
                raise
        return self._open(self._dialer.connection(endpoint, timeout, timeout), endpoint)

    async def connect_sentinel(self, index: int, timeout: float) -> Link:
        connection = self._dialer.sentinel_connection(index, timeout, timeout)
        return self._open(connection, self._dialer.target.endpoints[index])

    def channel(self, link: Link, on_push: Optional[Callable[[Any], None]]) -> Channel:
        return SyncChannel(link, on_push)

    def shield(self, job: Coroutine[Any, Any, Any], timeout: float) -> Any:
        return self._shielded(job, timeout)

    async def _shielded(self, job: Coroutine[Any, Any, Any], timeout: float) -> Any:
        # A thread is not cancelled, and the job bounds itself.
        return await job

    def _open(self, connection: Any, endpoint: Endpoint) -> Link:
        try:
            connection.connect()
        except (RedisError, OSError) as error:
            connection.disconnect()
            raise link_error(error) from error
        except BaseException:
            connection.disconnect()
            raise
        return SyncLink(connection, endpoint)
