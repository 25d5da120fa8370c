"""What the engine needs of the outside world. `_sync_io`, `_aio_io` and `fake` provide it.

The engine is written once, with `async def`. Over blocking sockets nothing in it ever suspends, so
`_sync_io.run` carries it through in one step; over asyncio it is an ordinary coroutine.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Coroutine, Sequence
from typing import Any, Callable, Optional, Protocol

from ._core import Command, LinkError, ReplyError
from ._dial import Endpoint

# What `Link.recv` returns when nothing came in time.
NOTHING: Any = object()


class Event(Protocol):
    """Something to wait for. `set` may be called from any thread."""

    def set(self) -> None: ...
    def clear(self) -> None: ...
    def is_set(self) -> bool: ...
    async def wait(self, timeout: Optional[float]) -> bool: ...


class Mutex(Protocol):
    """First come, first served. `acquire` tells whether it came about in time."""

    async def acquire(self, timeout: Optional[float]) -> bool: ...
    def release(self) -> None: ...


class Link(Protocol):
    """One connection. Replies come in the order of the commands."""

    endpoint: Endpoint
    # Replies that have not been read yet.
    owed: int
    closed: bool

    def send(self, commands: Sequence[Command]) -> None:
        """Sends without waiting for replies. May raise LinkError, or leave that to `recv`."""

    async def recv(self, timeout: Optional[float]) -> Any:
        """The next reply, NOTHING, or LinkError. An error of the server is returned."""

    def close(self) -> None: ...


class Pending:
    """The replies to one batch of commands."""

    def __init__(
        self,
        count: int,
        event: Event,
        then: Optional[Callable[[Pending], None]] = None,
    ) -> None:
        self.replies: list[Any] = []
        self.error: Optional[LinkError] = None
        self._count = count
        self._event = event
        self._then = then

    @property
    def done(self) -> bool:
        return self.error is not None or len(self.replies) >= self._count

    def add(self, reply: Any) -> bool:
        """Takes a reply; True if it was the last."""
        self.replies.append(reply)
        if len(self.replies) >= self._count:
            self._finish()
            return True
        return False

    def fail(self, error: LinkError) -> None:
        self.error = error
        self._finish()

    async def wait(self, timeout: Optional[float]) -> bool:
        return self.done or await self._event.wait(timeout)

    def result(self) -> list[Any]:
        if self.error is not None:
            raise LinkError(str(self.error))
        return self.replies

    def _finish(self) -> None:
        if self._then is not None:
            self._then(self)
        self._event.set()


class Channel(Protocol):
    """A connection that many share. It keeps replies apart, also those nobody waits for."""

    link: Link
    closed: bool

    def retire(self) -> None:
        """It is used no more. It goes on reading until nothing is owed, and closes then."""

    def post(
        self, commands: Sequence[Command], then: Optional[Callable[[Pending], None]] = None
    ) -> Pending:
        """Sends a batch. LinkError if the connection is closed."""

    def close(self, why: str) -> None: ...


class Runtime(Protocol):
    """Time, tasks and connections."""

    def now(self) -> float: ...
    def event(self) -> Event: ...
    def mutex(self) -> Mutex: ...
    async def sleep(self, seconds: float) -> None: ...
    def spawn(self, job: Coroutine[Any, Any, None], name: str) -> None:
        """Runs it in the background. It must not raise."""

    async def connect(self, endpoint: Endpoint, timeout: float) -> Link: ...
    async def connect_sentinel(self, index: int, timeout: float) -> Link: ...
    def channel(self, link: Link, on_push: Optional[Callable[[Any], None]]) -> Channel:
        """Reads the link from now on. `on_push` gets what is no reply, and None at the end."""

    def shield(self, job: Coroutine[Any, Any, Any], timeout: float) -> Any:
        """An awaitable: the job goes on in the background if the caller is cancelled, or after
        `timeout`. Its result is the job's, or None if it is not done in time."""


class Outstanding:
    """The batches of a channel that are not answered yet, in order."""

    def __init__(self) -> None:
        self._queue: deque[Pending] = deque()

    def push(self, pending: Pending) -> None:
        self._queue.append(pending)

    def reply(self, value: Any) -> None:
        if self._queue and self._queue[0].add(value):
            self._queue.popleft()

    def fail(self, error: LinkError) -> None:
        while self._queue:
            self._queue.popleft().fail(error)

    def __len__(self) -> int:
        return len(self._queue)


def is_push(reply: Any) -> bool:
    """Whether a reply of a connection in pub/sub mode is an invalidation message."""
    return isinstance(reply, list) and len(reply) == 3 and reply[0] == b"message"


__all__ = [
    "NOTHING",
    "Channel",
    "Event",
    "Link",
    "Mutex",
    "Outstanding",
    "Pending",
    "ReplyError",
    "Runtime",
    "is_push",
]
