"""Locks and their holds, for asyncio."""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
import sys
from collections.abc import Awaitable
from dataclasses import replace
from types import TracebackType
from typing import Any, Callable, Optional, Protocol, TypeVar

from ._base import (
    HoldBase,
    Spec,
    Stacks,
    Timeout,
    seconds_to_wait,
)
from ._core import (
    MAX_LEASE,
    Check,
    Key,
    LockInfo,
    decode_check,
    milliseconds,
)
from ._engine import Engine
from ._hold import HoldState
from .errors import NotAcquired, NotHeld

logger = logging.getLogger("redislock_client")
T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Awaitable[Any]])


class Hold(HoldBase):
    """One hold of one lock, or of several that were acquired together.

    The body of `async with` is cancelled if the hold is lost, and NotHeld is raised at its end.
    `cancel_on_loss=False` leaves the body alone.
    """

    def __init__(self, engine: Engine, state: HoldState, cancel_on_loss: bool = True) -> None:
        super().__init__(state)
        self._engine = engine
        # Keeps the client from being collected.
        self._locks: Any = None
        self._cancel_on_loss = cancel_on_loss
        self._body: Optional[asyncio.Task[Any]] = None
        self._cancelling = 0
        # Whether the loss cancelled the body.
        self._cancelled = False

    async def extend(self, lease: Optional[float] = None) -> None:
        """Gives the hold a new lease that starts now, in seconds. Raises NotHeld if it has ended.

        Without `lease` it is the lease that was given last. With renewal, the new lease is renewed.
        """
        ms = self._state.lease_ms if lease is None else milliseconds("lease", lease, MAX_LEASE)
        await self._engine.extend(self._state, ms)

    async def check(self) -> Optional[Check]:
        """Asks the server: the fence, the seconds left and the number of clients that wait.

        None if it is not held any more; then it is marked as lost.
        """
        if self.lost_reason == "fork":
            raise self._state.error()
        replies = await self._engine.check(self._state)
        return decode_check(replies[0]) if replies else None

    async def downgrade(self) -> None:
        """Makes the exclusive hold a shared one, without the lock being free in between."""
        await self._engine.downgrade(self._state)
        self._state.request = replace(self._state.request, mode="shared")

    def on_lost(self, callback: Callable[[Hold], Any]) -> None:
        """Calls back once if the hold is lost. It may be a coroutine function."""

        def tell(_: HoldState) -> None:
            result = callback(self)
            if inspect.isawaitable(result):
                task = asyncio.ensure_future(result)
                _callbacks.add(task)
                task.add_done_callback(_callback_done)

        self._state.on_lost(tell)

    async def release(self, *, cool: Optional[float] = None) -> None:
        """Gives the lock back. Raises NotHeld if the hold had ended before.

        With `cool` nobody is granted the lock for that many seconds from now. If no server answers,
        the release goes on in the background until the lease would be over.
        """
        if self._again:
            self._again -= 1
            return
        ms = 0 if cool is None else milliseconds("cool", cool, MAX_LEASE)
        if (await self._engine.release(self._state, ms)) is False:
            raise (
                self._state.error()
                if self._state.state == "lost"
                else NotHeld(f"{self._state.request.name} was not held any more")
            )

    async def __aenter__(self) -> Hold:
        if self._cancel_on_loss and self._body is None:
            task = asyncio.current_task()
            assert task is not None
            self._body = task
            self._cancelling = _cancelling(task)
            self._state.on_lost(lambda _: self._cancel_body())
        return self

    async def __aexit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        if self._again:
            self._again -= 1
            return
        self._body = None
        told = self._cancelled and isinstance(error, asyncio.CancelledError)
        if self._cancelled:
            self._cancelled = False
            if error is None:
                # The body ended just then, and the cancellation is still on its way.
                try:
                    await asyncio.sleep(0)
                except asyncio.CancelledError:
                    pass
            if not _uncancel(self._cancelling):
                # Somebody else cancelled the task too.
                told = False
        try:
            await self.release()
        except NotHeld as lost:
            # What the body raised is what the caller has to see.
            if error is None:
                raise
            if told:
                raise lost from error

    def _cancel_body(self) -> None:
        task = self._body
        if task is not None and self._state.reason != "closed" and not task.done():
            self._cancelled = True
            task.cancel()


class Client(Protocol):
    """What a lock needs of the client that made it."""

    @property
    def _engine(self) -> Engine: ...
    async def info(self, key: Key) -> Optional[LockInfo]: ...
    def _new_owner(self) -> str: ...


class Scope(Protocol):
    """What a lock needs of the owner that takes it together with others."""

    id: str

    def _held(self, spec: Spec) -> Optional[Hold]: ...
    def _remember(self, hold: Hold) -> None: ...


class Lock:
    """A lock that can be acquired any number of times, like `asyncio.Lock`.

    Each acquisition has an owner and a fence of its own. Tasks may share the object.
    """

    def __init__(self, locks: Client, spec: Spec, owner: Optional[Scope] = None) -> None:
        self._locks = locks
        self._spec = spec
        self._owner = owner
        self._holds = Stacks()

    @property
    def key(self) -> Key:
        """The lock's key; the first one, if there are several."""
        return self._spec.keys[0]

    @property
    async def current(self) -> Optional[Hold]:
        """The hold that this task acquired last through this object, or None."""
        hold: Optional[Hold] = self._holds.last(_task())
        return hold

    async def take(self, timeout: Timeout = -1) -> Hold:
        """Acquires the lock and returns the hold, which the caller releases.

        `timeout` in seconds: None waits without limit, 0 does not wait, and -1 stands for the
        lock's own. Raises NotAcquired.
        """
        seconds = seconds_to_wait(True, self._spec.timeout if timeout == -1 else timeout, None)
        return await self._take(seconds)

    async def acquire(self, blocking: bool = True, timeout: Optional[float] = None) -> bool:
        """Acquires the lock, as threading.Lock does: True, or False if it was not granted in time.

        `timeout` in seconds: None stands for the lock's own, -1 waits without limit.
        """
        try:
            hold = await self._take(seconds_to_wait(blocking, timeout, self._spec.timeout))
        except NotAcquired:
            return False
        self._holds.push(_task(), hold)
        return True

    async def release(self) -> None:
        """Releases what this task acquired last, or else what another task did.

        Raises NotHeld if the hold had ended before, RuntimeError if there is none.
        """
        hold = self._holds.pop(_task())
        if hold is None:
            raise RuntimeError("release of a lock that was not acquired")
        await hold.release()

    async def locked(self) -> bool:
        """Whether somebody holds the lock, as the server says."""
        info = await self._locks.info(self.key)
        return info is not None and info.holders_count > 0

    async def __aenter__(self) -> Hold:
        hold = await self.take()
        self._holds.push(_task(), hold)
        return await hold.__aenter__()

    async def __aexit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        hold = self._holds.pop(_task())
        if hold is not None:
            await hold.__aexit__(kind, error, trace)

    def __call__(self, function: F) -> F:
        """As a decorator: each call of the function acquires the lock."""

        @functools.wraps(function)
        async def locked(*args: Any, **kwargs: Any) -> Any:
            async with await self.take():
                return await function(*args, **kwargs)

        return locked  # type: ignore[return-value]

    async def _take(self, seconds: float) -> Hold:
        spec = self._spec
        if self._owner is not None:
            again = self._owner._held(spec)
            if again is not None:
                again._again += 1
                return again
        engine = self._locks._engine
        owner = self._owner.id if self._owner else self._locks._new_owner()
        state = await engine.acquire(
            spec.request(owner),
            seconds,
            renew=spec.renew,
            durable=spec.durable,
            durable_timeout=spec.durable_timeout,
        )
        hold = Hold(engine, state, spec.cancel_on_loss)
        hold._locks = self._locks
        if spec.on_lost is not None:
            hold.on_lost(spec.on_lost)
        if self._owner is not None:
            self._owner._remember(hold)
        return hold


class ReadWriteLock:
    """One lock with two modes: any number of readers, or one writer. They wait in one queue."""

    def __init__(self, write: Lock, read: Lock) -> None:
        self._write = write
        self._read = read

    def read(self) -> Lock:
        """The lock to read under: shared with other readers."""
        return self._read

    def write(self) -> Lock:
        """The lock to write under: exclusive."""
        return self._write


_callbacks: set[asyncio.Future[Any]] = set()


def _callback_done(task: asyncio.Future[Any]) -> None:
    _callbacks.discard(task)
    if not task.cancelled() and task.exception() is not None:
        logger.error("a callback for a lost hold failed", exc_info=task.exception())


def _task() -> Any:
    return asyncio.current_task()


def _cancelling(task: asyncio.Task[Any]) -> int:
    return task.cancelling() if sys.version_info >= (3, 11) else 0


def _uncancel(before: int) -> bool:
    """Takes this package's cancellation back. False if others cancelled the task too."""
    if sys.version_info >= (3, 11):
        task = asyncio.current_task()
        return task is None or task.uncancel() <= before
    return True
