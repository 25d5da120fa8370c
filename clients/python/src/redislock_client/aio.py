"""Locks for asyncio.

    locks = Locks(redis.asyncio.Redis(), label="orders")
    async with locks.lock("orders:42", lease=10, timeout=5) as hold:
        await save(fence=hold.fence)

The interface is that of `redislock_client`, with `async` and `await`.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import time
from collections.abc import AsyncIterator, Awaitable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Callable, Optional, TypeVar

from ._aio_io import AioRuntime
from ._aio_lock import Hold, Lock, ReadWriteLock
from ._base import (
    Base,
    Spec,
    Timeout,
    as_keys,
    list_command,
    satisfies,
    top_command,
)
from ._core import (
    MAX_LEASE,
    Check,
    Key,
    LockEntry,
    LockInfo,
    decode_check,
    decode_entry,
    decode_info,
    milliseconds,
)
from ._dial import Dialer, Target
from ._io import Runtime
from ._keeper import Watch
from .errors import NotAcquired, NotHeld
from .hooks import Hooks

__all__ = [
    "Hold",
    "Leader",
    "Lock",
    "Locks",
    "Observation",
    "Once",
    "Owner",
    "ReadWriteLock",
]

logger = logging.getLogger("redislock_client")

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Awaitable[Any]])


class _Factory:
    """What makes lock objects: a client, or an owner scope."""

    def _home(self) -> Locks:
        raise NotImplementedError

    def _scope(self) -> Optional[Owner]:
        return None

    def lock(
        self,
        key: Key,
        *,
        lease: Optional[float] = None,
        timeout: Timeout = -1,
        renew: Optional[bool] = None,
        session: bool = False,
        max: Optional[float] = None,
        delay: Optional[float] = None,
        durable: int = 0,
        durable_timeout: float = 1.0,
        on_lost: Optional[Callable[[Hold], Any]] = None,
        cancel_on_loss: bool = True,
    ) -> Lock:
        """An exclusive lock. All times are in seconds.

        lease: how long a hold lasts unless it is renewed, up to 365 days (the client's default).
        timeout: how long to wait. None: without limit, 0: not at all, -1: the client's default.
        renew: whether the package extends the hold at a third of the lease (the client's default).
        session: the hold also ends when its connection closes, so at once if the process dies. It
            keeps a connection of its own.
        max: the hold ends at the latest this long after its grant.
        delay: if the hold ends by its lease or its session, nobody is granted the lock for this
            long, at most an hour.
        durable: the number of replicas that must confirm the grant within `durable_timeout`;
            else NotDurable.
        cancel_on_loss: whether the body of `async with` is cancelled if the hold is lost.
        on_lost: is called with the hold if it is lost. It may be a coroutine function.
        """
        return self._lock(
            (key,), lease, timeout, renew, session, max, on_lost,
            delay=delay, durable=durable, durable_timeout=durable_timeout,
            cancel_on_loss=cancel_on_loss,
        )  # fmt: skip

    def rwlock(
        self,
        key: Key,
        *,
        lease: Optional[float] = None,
        timeout: Timeout = -1,
        renew: Optional[bool] = None,
        session: bool = False,
        max: Optional[float] = None,
        on_lost: Optional[Callable[[Hold], Any]] = None,
    ) -> ReadWriteLock:
        """A lock for many readers or one writer. The options are those of `lock`."""
        write = self._lock((key,), lease, timeout, renew, session, max, on_lost)
        read = self._lock((key,), lease, timeout, renew, session, max, on_lost, mode="shared")
        return ReadWriteLock(write, read)

    def semaphore(
        self,
        key: Key,
        n: int,
        *,
        weight: int = 1,
        lease: Optional[float] = None,
        timeout: Timeout = -1,
        renew: Optional[bool] = None,
        session: bool = False,
        max: Optional[float] = None,
        on_lost: Optional[Callable[[Hold], Any]] = None,
    ) -> Lock:
        """At most n units are held at a time. A hold takes `weight` of them.

        All clients should use the same n. The other options are those of `lock`.
        """
        return self._lock(
            (key,), lease, timeout, renew, session, max, on_lost,
            mode="counted", limit=n, weight=weight,
        )  # fmt: skip

    def multi(
        self,
        keys: Sequence[Key],
        *,
        shared: bool = False,
        lease: Optional[float] = None,
        timeout: Timeout = -1,
        renew: Optional[bool] = None,
        session: bool = False,
        max: Optional[float] = None,
        on_lost: Optional[Callable[[Hold], Any]] = None,
    ) -> Lock:
        """1 to 64 locks in one step: all or none. In a cluster they must be in one slot.

        The other options are those of `lock`.
        """
        mode = "shared" if shared else "exclusive"
        return self._lock(
            as_keys(keys), lease, timeout, renew, session, max, on_lost, mode=mode, multi=True
        )

    def _lock(
        self,
        keys: tuple[Key, ...],
        lease: Optional[float],
        timeout: Timeout,
        renew: Optional[bool],
        session: bool,
        max: Optional[float],
        on_lost: Optional[Callable[[Hold], Any]],
        **more: Any,
    ) -> Lock:
        locks = self._home()
        spec = Spec(
            keys,
            lease=locks._lease if lease is None else lease,
            timeout=locks._timeout if timeout == -1 else timeout,
            renew=locks._renew if renew is None else renew,
            session=session,
            max=max,
            on_lost=on_lost,
            **more,
        )
        return Lock(locks, spec, self._scope())


class Locks(Base, _Factory):
    """A client for locks, over a client of redis-py: `Redis`, `RedisCluster`, or what
    `Sentinel.master_for` returns.

    It takes only the address, the TLS settings and the credentials from that client, and opens
    connections of its own. Tasks share one `Locks`. In another event loop it
    opens connections anew.

    label: is put in front of every owner, so that LOCK.INFO names the application.
    lease, timeout, renew: the defaults for its locks, as in `lock`.
    request_timeout: the seconds a server may take for an answer before this client looks elsewhere.
    probe_interval: how often, in seconds, a wait looks whether its server is still there.
    tracking: whether servers tell of losses at once (CLIENT TRACKING), over one more connection.
    share_waits: whether the waits of this process for one lock stand behind one wait in the server.
    max_idle: how many connections of waits are kept for the next ones.
    hooks: are told of grants, releases and losses.
    metrics: whether OpenTelemetry's API is used if it is installed.
    """

    def __init__(
        self,
        client: Any,
        *,
        label: Optional[str] = None,
        lease: float = 30.0,
        timeout: Timeout = None,
        renew: bool = True,
        request_timeout: float = 1.0,
        probe_interval: float = 2.0,
        tracking: bool = True,
        share_waits: bool = False,
        max_idle: int = 32,
        hooks: Iterable[Hooks] = (),
        metrics: bool = True,
    ) -> None:
        super().__init__(
            client,
            label=label,
            lease=lease,
            timeout=timeout,
            renew=renew,
            request_timeout=request_timeout,
            probe_interval=probe_interval,
            tracking=tracking,
            share_waits=share_waits,
            max_idle=max_idle,
            hooks=hooks,
            metrics=metrics,
        )

    @classmethod
    def from_url(cls, url: str, **options: Any) -> Locks:
        """A client for one server. The options are those of the class."""
        from redis.asyncio import Redis

        return cls(Redis.from_url(url), **options)

    def owner(self, name: Optional[str] = None) -> Owner:
        """A scope whose locks all have one owner, so that the server finds deadlocks.

        One piece of work uses it, that is one task at a time. A lock that it holds it can
        acquire again at once. `name` replaces the random part of the owner; it must be unique.
        """
        return Owner(self, self._new_owner() if name is None else name)

    def once(
        self,
        key: Key,
        period: float,
        *,
        lease: Optional[float] = None,
        renew: Optional[bool] = None,
    ) -> Once:
        """Work that is done once per period, in seconds, however many processes try."""
        return Once(self.lock(key, lease=lease, timeout=0, renew=renew), period)

    def leader(
        self,
        key: Key,
        *,
        lease: float = 10.0,
        session: bool = True,
        max: Optional[float] = None,
        on_lost: Optional[Callable[[Hold], Any]] = None,
    ) -> Leader:
        """An election: whoever holds the lock leads.

        With `session` a successor is elected as soon as the leader's process dies.
        """
        lock = self.lock(
            key, lease=lease, timeout=None, renew=True, session=session, max=max, on_lost=on_lost
        )
        return Leader(self, lock)

    async def info(self, key: Key) -> Optional[LockInfo]:
        """Who holds the lock and who waits for it; None if it is free."""
        engine = self._engine
        timeout = 5 * engine.options.request_timeout
        return decode_info(await engine.execute(engine.slot(key), ("LOCK.INFO", key), timeout))

    async def check(self, key: Key, owner: str) -> Optional[Check]:
        """The fence of this owner's hold, the seconds left, and how many wait; None if it holds
        nothing."""
        engine = self._engine
        timeout = 5 * engine.options.request_timeout
        command = ("LOCK.CHECK", key, owner, "WAITERS")
        return decode_check(await engine.execute(engine.slot(key), command, timeout))

    async def list(
        self, *, match: Optional[str] = None, owner: Optional[str] = None, count: int = 100
    ) -> AsyncIterator[LockEntry]:
        """All locks, of all nodes of a cluster. One may come twice, as with SCAN.

        match: a pattern for keys. owner: only what this owner holds. count: the size of a page.
        """
        engine = self._engine
        for node in await engine.primaries():
            cursor: Any = 0
            while True:
                command = list_command(cursor, match, owner, count)
                cursor, entries = await engine.ask_node(node, command)
                for entry in entries:
                    yield decode_entry(entry)
                if int(cursor) == 0:
                    break

    async def top(self, count: int = 10, *, by: str = "waiters") -> Sequence[LockEntry]:
        """The most contended locks. `by` is `waiters` or `waited`."""
        engine = self._engine
        found: list[LockEntry] = []
        for node in await engine.primaries():
            found += map(decode_entry, (await engine.ask_node(node, top_command(count, by))))
        found.sort(key=lambda e: e.waited if by == "waited" else e.waiters, reverse=True)
        return found[:count]

    async def close(self) -> None:
        """Releases all holds, ends all waits with ClientClosed, and closes all connections."""
        self._closed = True
        made = self._made
        if made is not None and made[0] == self._context():
            (await made[1].close(2 * self._options.request_timeout))

    async def __aenter__(self) -> Locks:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def _home(self) -> Locks:
        return self

    async def aclose(self) -> None:
        """The same as `close`."""
        await self.close()

    _aio = True

    def _context(self) -> Any:
        return (os.getpid(), asyncio.get_running_loop())

    def _runtime(self, target: Target, name: str) -> Runtime:
        return AioRuntime(Dialer(target, name, aio=True))


class Owner(_Factory):
    """One owner for several locks. See `Locks.owner`."""

    def __init__(self, locks: Locks, name: str) -> None:
        if not 1 <= len(name.encode()) <= 1024:
            raise ValueError("an owner has 1 to 1024 bytes")
        self.id = name
        self._locks = locks
        self._mine: list[Hold] = []

    def _home(self) -> Locks:
        return self._locks

    def _scope(self) -> Owner:
        return self

    def _held(self, spec: Spec) -> Optional[Hold]:
        self._mine = [hold for hold in self._mine if hold.held]
        return next((hold for hold in self._mine if satisfies(hold, spec)), None)

    def _remember(self, hold: Hold) -> None:
        self._mine.append(hold)


class Once:
    """Work that is done once per period. See `Locks.once`."""

    def __init__(self, lock: Lock, period: float) -> None:
        milliseconds("period", period, MAX_LEASE)
        self._lock = lock
        self._period = period

    @asynccontextmanager
    async def attempt(self) -> AsyncIterator[Optional[Hold]]:
        """Yields the hold if this process does the work, or None if it was done, or is being done.

        After the body nobody does it again until the period is over, counted from its beginning.
        If the body raises, the lock is free, and somebody else may try at once.
        """
        try:
            hold = await self._lock.take(0)
        except NotAcquired:
            yield None
            return
        began = time.monotonic()
        try:
            yield hold
        except BaseException:
            await hold.__aexit__(NotHeld, NotHeld(""), None)
            raise
        left = self._period - (time.monotonic() - began)
        await hold.release(cool=left if left > 0 else None)

    def __call__(
        self, function: Callable[..., Awaitable[T]]
    ) -> Callable[..., Awaitable[Optional[T]]]:
        """As a decorator: the function returns None without being run if it is not its turn."""

        @functools.wraps(function)
        async def once(*args: Any, **kwargs: Any) -> Optional[T]:
            async with self.attempt() as hold:
                return None if hold is None else await function(*args, **kwargs)

        return once


class Leader:
    """An election. See `Locks.leader`."""

    def __init__(self, locks: Locks, lock: Lock) -> None:
        self._locks = locks
        self._lock = lock

    async def elect(self, timeout: Timeout = None) -> Hold:
        """Waits until this process leads, and returns the hold. Release it to hand over.

        `timeout` in seconds; None waits without limit. Raises NotAcquired.
        """
        return await self._lock.take(timeout)

    async def current(self) -> Optional[str]:
        """The owner of the leader, or None if nobody leads."""
        return _leader(await self._locks.info(self._lock.key))

    def observe(self, callback: Optional[Callable[[Optional[str]], Any]] = None) -> Observation:
        """Calls back with the owner of the leader, or None, now and whenever it changes.

        Without a callback, iterate over the result. The calls come in the event loop and must not
        block. End it with `close`.
        """
        return Observation(self._locks, self._lock.key, callback)


class Observation:
    """Somebody who is told who leads. See `Leader.observe`.

    It can be iterated: `async for owner in leader.observe(): ...`
    """

    def __init__(
        self, locks: Locks, key: Key, callback: Optional[Callable[[Optional[str]], Any]]
    ) -> None:
        self._engine = locks._engine
        self._callback = callback
        self._known: Any = self
        self._changes: asyncio.Queue[Optional[str]] = asyncio.Queue()
        self._first = self._engine.rt.event()
        self._watch = Watch(key, self._looked)
        self._watch.slot = self._engine.slot(key)
        self._engine.keeper.watch(self._watch)

    async def leader(self) -> Optional[str]:
        """The owner that leads as far as it is known. Waits for the first answer."""
        await self._first.wait(None)
        leader: Optional[str] = self._known
        return leader

    def close(self) -> None:
        self._engine.keeper.unwatch(self._watch)

    def __aiter__(self) -> Observation:
        return self

    async def __anext__(self) -> Optional[str]:
        return await self._changes.get()

    async def __aenter__(self) -> Observation:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def _looked(self, info: Optional[LockInfo]) -> None:
        leader = _leader(info)
        if leader != self._known:
            self._known = leader
            self._first.set()
            if self._callback is None:
                self._changes.put_nowait(leader)
            else:
                self._callback(leader)


def _leader(info: Optional[LockInfo]) -> Optional[str]:
    return info.holders[0].owner if info is not None and info.holders else None
