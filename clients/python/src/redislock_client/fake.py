"""Locks without a server, for the tests of applications.

    server = FakeServer()
    locks = server.locks()            # as redislock_client.Locks
    async_locks = server.aio_locks()  # as redislock_client.aio.Locks

The clients are the real ones. `FakeServer` answers their commands from memory, with the semantics
of the module: queues, leases, fences, sessions, cooling, deadlocks. Clients of one server see each
other's locks, also from several threads and event loops of one process. `server.break_lock(key)`
does what an operator's DEL does.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any, Optional

from . import _sync, aio
from ._aio_io import AioRuntime
from ._base import Timeout
from ._core import Command, LinkError, ReplyError
from ._dial import Dialer, Endpoint, Target
from ._fake_state import State
from ._io import NOTHING, Link, Runtime
from ._sync_io import SyncRuntime
from .hooks import Hooks

__all__ = ["FakeServer"]

_ENDPOINT = Endpoint("fake", 1)


class FakeServer:
    """A server in memory. Its methods may be called from any thread."""

    def __init__(self) -> None:
        self._state = State()

    def locks(
        self,
        *,
        label: Optional[str] = None,
        lease: float = 30.0,
        timeout: Timeout = None,
        renew: bool = True,
        share_waits: bool = False,
        hooks: Iterable[Hooks] = (),
    ) -> _sync.Locks:
        """A client for threads. The options are those of `Locks`."""
        return _FakeLocks(
            self,
            label=label,
            lease=lease,
            timeout=timeout,
            renew=renew,
            share_waits=share_waits,
            hooks=hooks,
            metrics=False,
        )

    def aio_locks(
        self,
        *,
        label: Optional[str] = None,
        lease: float = 30.0,
        timeout: Timeout = None,
        renew: bool = True,
        share_waits: bool = False,
        hooks: Iterable[Hooks] = (),
    ) -> aio.Locks:
        """A client for asyncio. The options are those of `aio.Locks`."""
        return _FakeAioLocks(
            self,
            label=label,
            lease=lease,
            timeout=timeout,
            renew=renew,
            share_waits=share_waits,
            hooks=hooks,
            metrics=False,
        )

    def break_lock(self, key: str) -> bool:
        """Removes the lock, as an operator does with DEL. The next in the queue is granted it."""
        with self._state.guard:
            return self._state.delete(key.encode())

    def set_value(self, key: str) -> None:
        """Puts something at the key that is not a lock."""
        with self._state.guard:
            self._state.overwrite(key.encode())


def _target() -> Target:
    return Target("single", [_ENDPOINT], None, {})


class _FakeLocks(_sync.Locks):
    def __init__(self, server: FakeServer, **options: Any) -> None:
        self._server = server
        super().__init__(None, **options)

    def _target(self) -> Target:
        return _target()

    def _runtime(self, target: Target, name: str) -> Runtime:
        return _Threads(self._server._state, Dialer(target, name, aio=False))


class _FakeAioLocks(aio.Locks):
    def __init__(self, server: FakeServer, **options: Any) -> None:
        self._server = server
        super().__init__(None, **options)

    def _target(self) -> Target:
        return _target()

    def _runtime(self, target: Target, name: str) -> Runtime:
        return _Tasks(self._server._state, Dialer(target, name, aio=True))


class _Threads(SyncRuntime):
    def __init__(self, state: State, dialer: Dialer) -> None:
        super().__init__(dialer)
        self._state = state

    async def connect(self, endpoint: Endpoint, timeout: float) -> Link:
        return _ThreadLink(self._state)


class _Tasks(AioRuntime):
    def __init__(self, state: State, dialer: Dialer) -> None:
        super().__init__(dialer)
        self._state = state

    async def connect(self, endpoint: Endpoint, timeout: float) -> Link:
        return _TaskLink(self._state)


class _FakeLink:
    """A connection to the state. It is a client of it."""

    def __init__(self, state: State) -> None:
        self.endpoint = _ENDPOINT
        self.owed = 0
        self.closed = False
        self._state = state
        self._replies: deque[Any] = deque()
        with state.guard:
            self._client = state.connect(self._arrived)

    def send(self, commands: Sequence[Command]) -> None:
        if self.closed:
            raise LinkError("the connection is closed")
        self.owed += len(commands)
        with self._state.guard:
            self._state.receive(self._client, commands)

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            with self._state.guard:
                self._state.disconnect(self._client)
            self._wake()

    def _arrived(self, reply: Any) -> None:
        self._replies.append(reply)
        self._wake()

    def _wake(self) -> None:
        raise NotImplementedError

    def _next(self) -> Any:
        """The next reply, or NOTHING. Lets the server see to its leases."""
        with self._state.guard:
            self._state.tick()
            if not self._replies:
                if self.closed:
                    raise LinkError("the connection was closed")
                return NOTHING
            reply = self._replies.popleft()
        if not (isinstance(reply, list) and reply[:1] == [b"message"]):
            self.owed -= 1
        return ReplyError(reply.text) if isinstance(reply, ReplyError) else reply

    def _pause(self, deadline: float) -> float:
        with self._state.guard:
            due = self._state.next_due()
        return max(0.0, min(deadline, due) - time.monotonic())


class _ThreadLink(_FakeLink):
    def __init__(self, state: State) -> None:
        self._event = threading.Event()
        super().__init__(state)

    async def recv(self, timeout: Optional[float]) -> Any:
        deadline = time.monotonic() + (60.0 if timeout is None else timeout)
        while True:
            self._event.clear()
            reply = self._next()
            if reply is not NOTHING or time.monotonic() >= deadline:
                return reply
            self._event.wait(self._pause(deadline))

    def _wake(self) -> None:
        self._event.set()


class _TaskLink(_FakeLink):
    def __init__(self, state: State) -> None:
        self._loop = asyncio.get_running_loop()
        self._event = asyncio.Event()
        super().__init__(state)

    async def recv(self, timeout: Optional[float]) -> Any:
        deadline = time.monotonic() + (60.0 if timeout is None else timeout)
        while True:
            self._event.clear()
            reply = self._next()
            if reply is not NOTHING or time.monotonic() >= deadline:
                return reply
            try:
                await asyncio.wait_for(self._event.wait(), self._pause(deadline))
            except asyncio.TimeoutError:
                continue

    def _wake(self) -> None:
        try:
            # From whatever thread gave the lock back.
            self._loop.call_soon_threadsafe(self._event.set)
        except RuntimeError:  # The loop is closed.
            self.closed = True
