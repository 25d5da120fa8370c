"""What the interfaces for threads and for asyncio have in common."""

from __future__ import annotations

import logging
import os
import threading
import weakref
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Callable, Optional, Union

from ._core import (
    MAX_DELAY,
    MAX_LEASE,
    Key,
    Request,
    check_timeout,
    client_name,
    milliseconds,
    new_owner,
    owner_prefix,
)
from ._dial import Target, describe
from ._engine import Engine, Options
from ._hold import HoldState
from .hooks import Hooks, telemetry

logger = logging.getLogger("redislock_client")

# Times are in seconds. None: wait without limit.
Timeout = Optional[float]


@dataclass(frozen=True)
class Spec:
    """What is asked for each time that a lock object is acquired."""

    keys: tuple[Key, ...]
    mode: str = "exclusive"
    limit: int = 0
    weight: int = 1
    multi: bool = False
    lease: float = 30.0
    timeout: Timeout = None
    renew: bool = True
    session: bool = False
    max: Optional[float] = None
    delay: Optional[float] = None
    durable: int = 0
    durable_timeout: float = 1.0
    on_lost: Optional[Callable[[Any], Any]] = None
    cancel_on_loss: bool = True

    def __post_init__(self) -> None:
        for key in self.keys:
            if not isinstance(key, (str, bytes)):
                raise TypeError(f"a key is str or bytes, not {type(key).__name__}")
        milliseconds("lease", self.lease, MAX_LEASE)
        if self.max is not None:
            milliseconds("max", self.max, MAX_LEASE)
        if self.delay is not None:
            milliseconds("delay", self.delay, MAX_DELAY)
            if self.mode != "exclusive" or self.multi:
                raise ValueError("delay is for exclusive locks of one key")
        if self.mode == "counted":
            if not 1 <= self.limit <= 1_000_000:
                raise ValueError(f"a semaphore has 1 to 1000000 units, not {self.limit!r}")
            if not 1 <= self.weight <= self.limit:
                raise ValueError(f"weight is 1 to {self.limit}, not {self.weight!r}")
        if self.multi:
            if not 1 <= len(self.keys) <= 64:
                raise ValueError(f"1 to 64 keys are taken together, not {len(self.keys)}")
            if len(set(self.keys)) != len(self.keys):
                raise ValueError("each key is named once")
        if self.durable < 0 or self.durable_timeout <= 0:
            raise ValueError("durable is a number of replicas from 0, durable_timeout is above 0")
        check_timeout(self.timeout)

    def request(self, owner: str) -> Request:
        return Request(
            keys=self.keys,
            owner=owner,
            lease_ms=milliseconds("lease", self.lease, MAX_LEASE),
            mode=self.mode,
            limit=self.limit,
            weight=self.weight,
            session=self.session,
            max_ms=0 if self.max is None else milliseconds("max", self.max, MAX_LEASE),
            delay_ms=0 if self.delay is None else milliseconds("delay", self.delay, MAX_DELAY),
            multi=self.multi,
        )


def seconds_to_wait(blocking: bool, timeout: Optional[float], default: Timeout) -> float:
    """`acquire(blocking, timeout)` as threading.Lock understands it."""
    if not blocking:
        if timeout not in (None, -1, 0):
            raise ValueError("a timeout makes no sense with blocking=False")
        return 0.0
    if timeout == -1:
        return check_timeout(None)
    return check_timeout(default if timeout is None else timeout)


class Base:
    """A client: its options, and an engine for each process and event loop that uses it."""

    _aio = False

    def __init__(
        self,
        client: Any,
        *,
        label: Optional[str],
        lease: float,
        timeout: Timeout,
        renew: bool,
        request_timeout: float,
        probe_interval: float,
        tracking: bool,
        share_waits: bool,
        max_idle: int,
        hooks: Iterable[Hooks],
        metrics: bool,
    ) -> None:
        if request_timeout <= 0 or probe_interval <= 0:
            raise ValueError("request_timeout and probe_interval must be above 0")
        milliseconds("lease", lease, MAX_LEASE)
        check_timeout(timeout)
        owner_prefix(label)
        self.label = label
        self._lease = lease
        self._timeout = timeout
        self._renew = renew
        found = telemetry() if metrics else None
        self._options = Options(
            request_timeout=request_timeout,
            probe_interval=probe_interval,
            idle_links=max_idle,
            tracking=tracking,
            share_waits=share_waits,
            hooks=(*hooks, *([found] if found else [])),
        )
        self._client = client
        self._closed = False
        self._made: Optional[tuple[Any, Engine, str]] = None
        self._making = threading.Lock()
        _clients.add(self)

    @property
    def connections_opened(self) -> int:
        """How many connections this client has opened to servers in this process."""
        return self._made[1].opened if self._made else 0

    def _target(self) -> Target:
        return describe(self._client, aio=self._aio)

    def _runtime(self, target: Target, name: str) -> Any:
        raise NotImplementedError

    def _context(self) -> Any:
        """What an engine is bound to."""
        return os.getpid()

    @property
    def _engine(self) -> Engine:
        return self._current()[1]

    def _current(self) -> tuple[Any, Engine, str]:
        context = self._context()
        made = self._made
        if made is not None and made[0] == context:
            return made
        with self._making:
            made = self._made
            if made is None or made[0] != context:
                target = self._target()
                prefix = owner_prefix(self.label)
                engine = Engine(self._runtime(target, client_name(prefix)), target, self._options)
                if self._closed:
                    engine.abort()
                # Its threads and sockets end with the client, also if nobody closes it.
                weakref.finalize(self, engine.abort).atexit = False
                self._made = made = (context, engine, prefix)
        return made

    def _new_owner(self) -> str:
        return new_owner(self._current()[2])

    def _forked(self) -> None:
        """In the child: the connections belong to the parent."""
        self._making = threading.Lock()
        made, self._made = self._made, None
        if made is None:
            return
        engine = made[1]
        engine.closed = True
        session_links = [h.link for h in list(engine.keeper.holds) if h.link is not None]
        for link in [*engine.links(), *session_links]:
            forked = getattr(link, "forked", None)
            if forked is not None:
                forked()

    def _settling(self) -> bool:
        return self._made is not None and self._made[1].settling > 0


_clients: weakref.WeakSet[Base] = weakref.WeakSet()


def _after_fork() -> None:
    for client in list(_clients):
        client._forked()


def clients() -> list[Base]:
    return list(_clients)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


class HoldBase:
    """What is known of a hold without asking."""

    def __init__(self, state: HoldState) -> None:
        self._state = state
        state.renew = state.renewable
        # In an owner scope: how often it was acquired again.
        self._again = 0

    @property
    def key(self) -> Key:
        """The lock's key; the first one, if there are several."""
        return self._state.request.keys[0]

    @property
    def keys(self) -> tuple[Key, ...]:
        """All keys of the hold."""
        return self._state.request.keys

    @property
    def owner(self) -> str:
        """The owner as LOCK.INFO shows it."""
        return self._state.request.owner

    @property
    def fence(self) -> int:
        """The fencing token; the largest one, if there are several keys.

        Send it along with each write. The resource rejects a smaller one than it has seen.
        """
        return self._state.fence

    @property
    def fences(self) -> Mapping[Key, int]:
        """The fencing token of each key."""
        return dict(zip(self._state.request.keys, self._state.fences))

    @property
    def held(self) -> bool:
        """Whether it is surely held, as far as this process can know without asking.

        It looks at a clock that goes on while the machine is suspended. It is False in doubt.
        """
        return self._state.held

    @property
    def expires_in(self) -> float:
        """The seconds that are surely left of the lease; 0 if it is not held."""
        return max(0.0, self._state.remaining()) if self._state.held else 0.0

    @property
    def lost_reason(self) -> Optional[str]:
        """Why it was lost, as in NotHeld, or None."""
        if self._state.state == "held" and not self._state.held:
            return self._state.error().reason
        return self._state.reason or None

    def raise_if_lost(self) -> None:
        """Raises NotHeld if `held` is False. Call it before each step that changes something."""
        self._state.raise_if_lost()

    def __del__(self) -> None:
        state = getattr(self, "_state", None)
        if state is not None and state.state == "held" and state.renew and state.held:
            # Nobody can release it any more. No locks here: this runs in the middle of anything.
            state.renew = False
            logger.warning(
                "a hold of %s was dropped without being released; it ends with its lease, owner %s",
                state.request.name,
                state.request.owner,
            )

    def __repr__(self) -> str:
        state = "held" if self.held else self._state.state
        if state == "held" and not self.held:
            state = "lost"
        name, fence = self._state.request.name, self.fence
        return f"<{type(self).__name__} {name} {state} fence={fence} owner={self.owner}>"


class Stacks:
    """The holds that a lock object has now, by thread or task."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._by: dict[Any, list[Any]] = {}

    def push(self, whose: Any, hold: Any) -> None:
        with self._guard:
            self._by.setdefault(whose, []).append(hold)

    def pop(self, whose: Any) -> Any:
        """The last one of this thread or task; if it has none, the last of any other. Or None."""
        with self._guard:
            if whose not in self._by:
                if not self._by:
                    return None
                whose = next(reversed(self._by))
            holds = self._by[whose]
            hold = holds.pop()
            if not holds:
                del self._by[whose]
            return hold

    def discard(self, hold: Any) -> None:
        with self._guard:
            for whose, holds in list(self._by.items()):
                if hold in holds:
                    holds.remove(hold)
                    if not holds:
                        del self._by[whose]
                    return

    def last(self, whose: Any) -> Any:
        with self._guard:
            holds = self._by.get(whose)
            return holds[-1] if holds else None


def satisfies(hold: HoldBase, spec: Spec) -> bool:
    """Whether an owner that has this hold need not ask the server again."""
    have = hold._state.request
    if have.keys != spec.keys or have.multi != spec.multi or not hold.held:
        return False
    return have.mode in ("exclusive", spec.mode)


def list_command(
    cursor: Any, match: Optional[str], owner: Optional[str], count: int
) -> tuple[Union[str, bytes, int], ...]:
    command: list[Any] = ["LOCK.LIST", cursor, "COUNT", count]
    if match is not None:
        command += ["MATCH", match]
    if owner is not None:
        command += ["OWNER", owner]
    return tuple(command)


def top_command(count: int, by: str) -> tuple[Union[str, int], ...]:
    if by.upper() not in ("WAITERS", "WAITED"):
        raise ValueError(f"by is 'waiters' or 'waited', not {by!r}")
    return ("LOCK.TOP", "COUNT", count, "BY", by.upper())


def as_keys(keys: Sequence[Key]) -> tuple[Key, ...]:
    if isinstance(keys, (str, bytes)):
        raise TypeError("multi takes a sequence of keys, not one key")
    return tuple(keys)
