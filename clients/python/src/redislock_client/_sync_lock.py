"""Locks and their holds, for threads."""

from __future__ import annotations

import functools
import threading
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
from ._sync_io import run
from .errors import NotAcquired, NotHeld

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])


class Hold(HoldBase):
    """One hold of one lock, or of several that were acquired together."""

    def __init__(self, engine: Engine, state: HoldState) -> None:
        super().__init__(state)
        self._engine = engine
        # Keeps the client from being collected.
        self._locks: Any = None

    def extend(self, lease: Optional[float] = None) -> None:
        """Gives the hold a new lease that starts now, in seconds. Raises NotHeld if it has ended.

        Without `lease` it is the lease that was given last. With renewal, the new lease is renewed.
        """
        ms = self._state.lease_ms if lease is None else milliseconds("lease", lease, MAX_LEASE)
        run(self._engine.extend(self._state, ms))

    def check(self) -> Optional[Check]:
        """Asks the server: the fence, the seconds left and the number of clients that wait.

        None if it is not held any more; then it is marked as lost.
        """
        if self.lost_reason == "fork":
            raise self._state.error()
        replies = run(self._engine.check(self._state))
        return decode_check(replies[0]) if replies else None

    def downgrade(self) -> None:
        """Makes the exclusive hold a shared one, without the lock being free in between."""
        run(self._engine.downgrade(self._state))
        self._state.request = replace(self._state.request, mode="shared")

    def on_lost(self, callback: Callable[[Hold], Any]) -> None:
        """Calls back once if the hold is lost, on a thread of this package. It must not block."""
        self._state.on_lost(lambda _: callback(self))

    def release(self, *, cool: Optional[float] = None) -> None:
        """Gives the lock back. Raises NotHeld if the hold had ended before.

        With `cool` nobody is granted the lock for that many seconds from now. If no server answers,
        the release goes on in the background until the lease would be over.
        """
        if self._again:
            self._again -= 1
            return
        ms = 0 if cool is None else milliseconds("cool", cool, MAX_LEASE)
        if run(self._engine.release(self._state, ms)) is False:
            raise (
                self._state.error()
                if self._state.state == "lost"
                else NotHeld(f"{self._state.request.name} was not held any more")
            )

    def __enter__(self) -> Hold:
        return self

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        try:
            self.release()
        except NotHeld:
            # What the body raised is what the caller has to see.
            if error is None:
                raise


class Cancellation:
    """Ends an acquisition from another thread: the thread that waits gets `Cancelled`, within about
    0.01 seconds, and its request leaves nothing behind."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def cancel(self) -> None:
        self._event.set()

    @property
    def cancelled(self) -> bool:
        return self._event.is_set()


class Client(Protocol):
    """What a lock needs of the client that made it."""

    @property
    def _engine(self) -> Engine: ...
    def info(self, key: Key) -> Optional[LockInfo]: ...
    def _new_owner(self) -> str: ...


class Scope(Protocol):
    """What a lock needs of the owner that takes it together with others."""

    id: str

    def _held(self, spec: Spec) -> Optional[Hold]: ...
    def _remember(self, hold: Hold) -> None: ...


class Lock:
    """A lock that can be acquired any number of times, like `threading.Lock`.

    Each acquisition has an owner and a fence of its own. Threads may share the object.
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
    def current(self) -> Optional[Hold]:
        """The hold that this thread acquired last through this object, or None."""
        hold: Optional[Hold] = self._holds.last(threading.get_ident())
        return hold

    def take(self, timeout: Timeout = -1, *, cancel: Optional[Cancellation] = None) -> Hold:
        """Acquires the lock and returns the hold, which the caller releases.

        `timeout` in seconds: None waits without limit, 0 does not wait, and -1 stands for the
        lock's own. Raises NotAcquired, and Cancelled if `cancel` was used.
        """
        seconds = seconds_to_wait(True, self._spec.timeout if timeout == -1 else timeout, None)
        return self._take(seconds, cancel)

    def acquire(self, blocking: bool = True, timeout: Optional[float] = None) -> bool:
        """Acquires the lock, as threading.Lock does: True, or False if it was not granted in time.

        `timeout` in seconds: None stands for the lock's own, -1 waits without limit.
        """
        try:
            hold = self._take(seconds_to_wait(blocking, timeout, self._spec.timeout))
        except NotAcquired:
            return False
        self._holds.push(threading.get_ident(), hold)
        return True

    def release(self) -> None:
        """Releases what this thread acquired last, or else what another thread did.

        Raises NotHeld if the hold had ended before, RuntimeError if there is none.
        """
        hold = self._holds.pop(threading.get_ident())
        if hold is None:
            raise RuntimeError("release of a lock that was not acquired")
        hold.release()

    def locked(self) -> bool:
        """Whether somebody holds the lock, as the server says."""
        info = self._locks.info(self.key)
        return info is not None and info.holders_count > 0

    def __enter__(self) -> Hold:
        hold = self.take()
        self._holds.push(threading.get_ident(), hold)
        return hold

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        hold = self._holds.pop(threading.get_ident())
        if hold is not None:
            hold.__exit__(kind, error, trace)

    def __call__(self, function: F) -> F:
        """As a decorator: each call of the function acquires the lock."""

        @functools.wraps(function)
        def locked(*args: Any, **kwargs: Any) -> Any:
            with self.take():
                return function(*args, **kwargs)

        return locked  # type: ignore[return-value]

    def _take(self, seconds: float, cancel: Optional[Cancellation] = None) -> Hold:
        spec = self._spec
        if self._owner is not None:
            again = self._owner._held(spec)
            if again is not None:
                again._again += 1
                return again
        engine = self._locks._engine
        owner = self._owner.id if self._owner else self._locks._new_owner()
        state = run(
            engine.acquire(
                spec.request(owner),
                seconds,
                renew=spec.renew,
                durable=spec.durable,
                durable_timeout=spec.durable_timeout,
                cancelled=None if cancel is None else cancel._event.is_set,
            )
        )
        hold = Hold(engine, state)
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
