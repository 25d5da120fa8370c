"""The module's semantics in memory, for `fake`. The caller holds `State.guard`."""

from __future__ import annotations

import itertools
import math
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Callable, Optional

from ._core import Command, ReplyError, show

INVALIDATIONS = b"__redis__:invalidate"


@dataclass(eq=False)
class FakeClient:
    identity: int
    deliver: Callable[[Any], None]
    # Commands behind a wait.
    backlog: list[Command] = field(default_factory=list)
    waiting: Optional[Wait] = None
    redirect: int = 0


@dataclass(eq=False)
class FakeHold:
    owner: str
    fence: int
    since: float
    until: float
    lease: float
    shared: bool
    limit: int
    weight: int
    last: float
    delay: float
    session: Optional[FakeClient]


@dataclass(eq=False)
class Wait:
    client: FakeClient
    ask: Ask
    since: float
    deadline: float


@dataclass(eq=False)
class FakeLock:
    holds: dict[str, FakeHold] = field(default_factory=dict)
    queue: list[Wait] = field(default_factory=list)
    cooling: float = -math.inf


@dataclass
class Ask:
    keys: list[bytes]
    owner: str
    lease: float
    shared: bool = False
    limit: int = 0
    weight: int = 1
    session: bool = False
    most: float = math.inf
    delay: float = 0.0
    block: Optional[float] = None
    multi: bool = False


class State:
    def __init__(self) -> None:
        self.guard = threading.RLock()
        self._locks: dict[bytes, FakeLock] = {}
        self._values: set[bytes] = set()
        self._clients: dict[int, FakeClient] = {}
        self._identities = itertools.count(1)
        self._fence = int(time.time() * 1e6)
        self._tracked: dict[bytes, set[int]] = {}
        # A time at which something may be due, or earlier.
        self._due = math.inf

    # Connections.

    def connect(self, deliver: Callable[[Any], None]) -> FakeClient:
        client = FakeClient(next(self._identities), deliver)
        self._clients[client.identity] = client
        return client

    def disconnect(self, client: FakeClient) -> None:
        self._clients.pop(client.identity, None)
        client.backlog.clear()
        if client.waiting is not None:
            self._leave(client.waiting)
            client.waiting = None
        for key, lock in list(self._locks.items()):
            for hold in list(lock.holds.values()):
                if hold.session is client:
                    self._end(key, lock, hold, died=True)
        self._serve()

    def receive(self, client: FakeClient, commands: Sequence[Command]) -> None:
        client.backlog += commands
        self._run(client)

    def _run(self, client: FakeClient) -> None:
        while client.backlog and client.waiting is None:
            command = client.backlog.pop(0)
            self.tick()
            try:
                reply = self._execute(client, [_plain(a) for a in command])
            except ReplyError as error:
                reply = error
            except (ValueError, IndexError):
                reply = ReplyError("ERR syntax error")
            if reply is not _LATER:
                client.deliver(reply)

    def _execute(self, client: FakeClient, args: list[Any]) -> Any:
        name = show(args[0]).upper().replace(".", "_").lower()
        method = getattr(self, "_do_" + name, None)
        if method is None:
            raise ReplyError(f"ERR unknown command '{show(args[0])}'")
        return method(client, args[1:])

    # Commands.

    def _do_ping(self, client: FakeClient, args: list[Any]) -> Any:
        return b"PONG"

    def _do_subscribe(self, client: FakeClient, args: list[Any]) -> Any:
        return [b"subscribe", args[0], 1]

    def _do_wait(self, client: FakeClient, args: list[Any]) -> Any:
        return 0

    def _do_client(self, client: FakeClient, args: list[Any]) -> Any:
        if show(args[0]).upper() == "ID":
            return client.identity
        client.redirect = int(args[3])
        return b"OK"

    def _do_lock_acquire(self, client: FakeClient, args: list[Any]) -> Any:
        return self._acquire(client, _parse([args[0]], args[1], args[2:], False))

    def _do_lock_macquire(self, client: FakeClient, args: list[Any]) -> Any:
        count = int(args[0])
        keys = list(args[1 : count + 1])
        return self._acquire(client, _parse(keys, args[count + 1], args[count + 2 :], True))

    def _do_lock_release(self, client: FakeClient, args: list[Any]) -> Any:
        key, owner, options = args[0], show(args[1]), _options(args[2:])
        self._check_type(key)
        lock = self._locks.get(key)
        hold = lock.holds.get(owner) if lock else None
        fence = options.get("FENCE")
        if fence is not None and (hold is None or hold.fence != int(fence)):
            return 0
        if "DOWNGRADE" in options:
            if hold is not None and not hold.shared:
                hold.shared = True
                self._changed(key)
                self._serve()
            return int(hold is not None)
        if "COOL" in options and hold is not None and hold.shared:
            raise ReplyError("ERR COOL needs an exclusive hold")
        self._withdraw(key, owner)
        if lock is not None and hold is not None:
            self._end(key, lock, hold, cool=int(options.get("COOL", 0)) / 1000)
        self._serve()
        return int(hold is not None)

    def _do_lock_mrelease(self, client: FakeClient, args: list[Any]) -> Any:
        count = int(args[0])
        return sum(
            self._do_lock_release(client, [key, args[count + 1]]) for key in args[1 : count + 1]
        )

    def _do_lock_extend(self, client: FakeClient, args: list[Any]) -> Any:
        key, owner, options = args[0], show(args[1]), _options(args[2:])
        self._check_type(key)
        lock = self._locks.get(key)
        hold = lock.holds.get(owner) if lock else None
        if hold is None or int(options.get("FENCE", hold.fence)) != hold.fence:
            return 0
        hold.lease = int(options["PX"]) / 1000 if "PX" in options else hold.lease
        hold.until = min(_now() + hold.lease, hold.last)
        self._due = min(self._due, hold.until)
        return 1

    def _do_lock_mextend(self, client: FakeClient, args: list[Any]) -> Any:
        count = int(args[0])
        return sum(
            self._do_lock_extend(client, [key, *args[count + 1 :]]) for key in args[1 : count + 1]
        )

    def _do_lock_check(self, client: FakeClient, args: list[Any]) -> Any:
        self._track(client, args[0])
        self._check_type(args[0])
        lock = self._locks.get(args[0])
        hold = lock.holds.get(show(args[1])) if lock else None
        if lock is None or hold is None:
            return None
        waiters = [len(lock.queue)] if len(args) > 2 else []
        return [hold.fence, _ms(hold.until - _now()), *waiters]

    def _do_lock_info(self, client: FakeClient, args: list[Any]) -> Any:
        self._track(client, args[0])
        self._check_type(args[0])
        lock = self._locks.get(args[0])
        if lock is None:
            return None
        now = _now()
        holders = [
            [
                b"owner", h.owner.encode(), b"fence", h.fence, b"ttl", _ms(h.until - now),
                b"held", _ms(now - h.since), b"limit", h.limit,
                b"session", h.session.identity if h.session else 0, b"weight", h.weight,
                b"max", 0 if math.isinf(h.last) else _ms(h.last - now),
            ]
            for h in sorted(lock.holds.values(), key=lambda h: h.fence)
        ]  # fmt: skip
        queue = [
            [
                b"owner", w.ask.owner.encode(), b"mode", _mode(w.ask.shared),
                b"waited", _ms(now - w.since), b"client", w.client.identity,
            ]
            for w in lock.queue[:10]
        ]  # fmt: skip
        return [
            b"mode", self._mode_of(lock), b"holders-count", len(holders), b"holders", holders[:100],
            b"waiters", len(lock.queue), b"queue", queue,
            b"cooling", max(0, _ms(lock.cooling - now)) if lock.cooling > now else 0,
        ]  # fmt: skip

    def _do_lock_list(self, client: FakeClient, args: list[Any]) -> Any:
        options = _options(args[1:])
        found = [
            self._entry(key, lock)
            for key, lock in self._locks.items()
            if lock.holds and _matches(key, options) and _owned(lock, options)
        ]
        return [b"0", found]

    def _do_lock_top(self, client: FakeClient, args: list[Any]) -> Any:
        options = _options(args)
        found = []
        for key, lock in self._locks.items():
            if lock.queue:
                waited = _ms(_now() - lock.queue[0].since)
                found.append([*self._entry(key, lock), b"waited", waited, b"queue", []])
        return found[: int(options.get("COUNT", 10))]

    def _entry(self, key: bytes, lock: FakeLock) -> list[Any]:
        first = min(lock.holds.values(), key=lambda h: h.fence, default=None)
        return [
            b"key", key, b"mode", self._mode_of(lock),
            b"owner", first.owner.encode() if first else b"", b"holders-count", len(lock.holds),
            b"fence", first.fence if first else 0,
            b"ttl", _ms(first.until - _now()) if first else 0,
            b"held", _ms(_now() - first.since) if first else 0, b"waiters", len(lock.queue),
        ]  # fmt: skip

    # Granting.

    def _acquire(self, client: FakeClient, ask: Ask) -> Any:
        for key in ask.keys:
            self._check_type(key)
            hold = self._hold(key, ask.owner)
            if hold is not None and hold.shared and not ask.shared:
                raise ReplyError(
                    "ERR this owner holds the lock shared, release it first to ask for the "
                    "exclusive hold"
                )
        wait = Wait(client, ask, _now(), math.inf)
        if self._may(ask, wait):
            return self._grant(ask, client)
        if ask.block is None:
            self._tidy(ask.keys)
            return None
        self._find_cycle(ask)
        if ask.block > 0:
            wait.deadline = _now() + ask.block
            self._due = min(self._due, wait.deadline)
        for key in ask.keys:
            self._locks.setdefault(key, FakeLock()).queue.append(wait)
        client.waiting = wait
        return _LATER

    def _may(self, ask: Ask, wait: Wait) -> bool:
        """Whether all of its locks let it in now, nobody before it waiting."""
        return all(self._lets_in(key, ask, wait) for key in ask.keys)

    def _lets_in(self, key: bytes, ask: Ask, wait: Wait) -> bool:
        lock = self._locks.get(key)
        if lock is None:
            return True
        if ask.owner in lock.holds:
            return True
        before = lock.queue[: lock.queue.index(wait)] if wait in lock.queue else lock.queue
        if before or lock.cooling > _now():
            return False
        others = list(lock.holds.values())
        if not others:
            return True
        if not ask.shared or any(not h.shared for h in others):
            return False
        limits = [n for n in [ask.limit, *(h.limit for h in others)] if n]
        return not limits or sum(h.weight for h in others) + ask.weight <= min(limits)

    def _grant(self, ask: Ask, client: FakeClient) -> Any:
        fences = []
        now = _now()
        for key in ask.keys:
            lock = self._locks.setdefault(key, FakeLock())
            hold = lock.holds.get(ask.owner)
            if hold is None:
                self._fence = max(self._fence + 1, int(time.time() * 1e6))
                hold = lock.holds[ask.owner] = FakeHold(
                    ask.owner, self._fence, now, min(now + ask.lease, now + ask.most), ask.lease,
                    ask.shared, ask.limit, ask.weight, now + ask.most, ask.delay, None,
                )  # fmt: skip
                self._changed(key)
            else:
                hold.until = min(max(hold.until, now + ask.lease), hold.last)
            hold.session = client if ask.session else None
            self._due = min(self._due, hold.until)
            fences.append(hold.fence)
        return fences if ask.multi else fences[0]

    def _serve(self) -> None:
        """Grants whoever can be granted by now, in order."""
        again = True
        while again:
            again = False
            for key in list(self._locks):
                for wait in list(self._locks[key].queue if key in self._locks else ()):
                    if self._may(wait.ask, wait):
                        self._leave(wait)
                        self._answer(wait, self._grant(wait.ask, wait.client))
                        again = True
                    else:
                        break
        self._tidy(list(self._locks))

    def _answer(self, wait: Wait, reply: Any) -> None:
        wait.client.waiting = None
        wait.client.deliver(reply)
        self._run(wait.client)

    def _leave(self, wait: Wait) -> None:
        for key in wait.ask.keys:
            lock = self._locks.get(key)
            if lock is not None and wait in lock.queue:
                lock.queue.remove(wait)

    def _withdraw(self, key: bytes, owner: str) -> None:
        lock = self._locks.get(key)
        for wait in list(lock.queue) if lock else []:
            if wait.ask.owner == owner:
                self._leave(wait)
                self._answer(wait, None)

    def _find_cycle(self, ask: Ask) -> None:
        path: list[str] = []
        seen: set[str] = set()

        def visit(owner: str, keys: list[bytes], limit: int) -> bool:
            if limit > 1:
                return False
            for key in keys:
                lock = self._locks.get(key)
                for other in list(lock.holds) if lock else []:
                    step = f"'{owner}' waits for '{other}' (lock '{show(key)}')"
                    if other == ask.owner and owner != ask.owner:
                        path.append(step)
                        return True
                    if other in seen or other == owner:
                        continue
                    seen.add(other)
                    for wait in {w for lk in self._locks.values() for w in lk.queue}:
                        if wait.ask.owner == other and visit(other, wait.ask.keys, wait.ask.limit):
                            path.append(step)
                            return True
            return False

        if visit(ask.owner, ask.keys, ask.limit):
            cycle = ", ".join(reversed(path))
            raise ReplyError(f"DEADLOCK waiting would close a cycle: {cycle}")

    # Ends.

    def tick(self) -> None:
        """Ends what is over by the clock."""
        now = _now()
        if now < self._due:
            return
        self._due = math.inf
        for key, lock in list(self._locks.items()):
            for hold in list(lock.holds.values()):
                if hold.until <= now:
                    self._end(key, lock, hold, died=True)
            for wait in list(lock.queue):
                if wait.deadline <= now:
                    self._leave(wait)
                    self._answer(wait, None)
        self._serve()
        for lock in self._locks.values():
            dues = [h.until for h in lock.holds.values()] + [w.deadline for w in lock.queue]
            dues += [lock.cooling] if lock.cooling > now else []
            self._due = min([self._due, *dues])

    def next_due(self) -> float:
        return self._due

    def delete(self, key: bytes) -> bool:
        self._values.discard(key)
        lock = self._locks.get(key)
        if lock is None:
            return False
        was = bool(lock.holds)
        lock.holds.clear()
        lock.cooling = -math.inf
        self._changed(key)
        self._serve()
        return was

    def overwrite(self, key: bytes) -> None:
        self._values.add(key)
        lock = self._locks.pop(key, None)
        self._changed(key)
        for wait in lock.queue if lock else []:
            self._leave(wait)
            self._answer(wait, _wrong_type())
        self._serve()

    def _end(
        self, key: bytes, lock: FakeLock, hold: FakeHold, died: bool = False, cool: float = 0.0
    ) -> None:
        lock.holds.pop(hold.owner, None)
        pause = hold.delay if died else cool
        if pause:
            lock.cooling = _now() + pause
            self._due = min(self._due, lock.cooling)
        self._changed(key)

    # Small things.

    def _hold(self, key: bytes, owner: str) -> Optional[FakeHold]:
        lock = self._locks.get(key)
        return lock.holds.get(owner) if lock else None

    def _tidy(self, keys: list[bytes]) -> None:
        now = _now()
        for key in keys:
            lock = self._locks.get(key)
            if lock is not None and not lock.holds and not lock.queue and lock.cooling <= now:
                del self._locks[key]

    def _mode_of(self, lock: FakeLock) -> bytes:
        if lock.holds:
            return _mode(next(iter(lock.holds.values())).shared)
        return b"cooling" if lock.cooling > _now() else b"free"

    def _check_type(self, key: bytes) -> None:
        if key in self._values:
            raise _wrong_type()

    def _track(self, client: FakeClient, key: bytes) -> None:
        if client.redirect:
            self._tracked.setdefault(key, set()).add(client.redirect)

    def _changed(self, key: bytes) -> None:
        for identity in self._tracked.pop(key, ()):
            listener = self._clients.get(identity)
            if listener is not None:
                listener.deliver([b"message", INVALIDATIONS, [key]])


_LATER: Any = object()
_FLAGS = ("SHARED", "SESSION", "DOWNGRADE", "WAITERS")


def _now() -> float:
    return time.monotonic()


def _ms(seconds: float) -> int:
    return max(0, math.ceil(seconds * 1000))


def _plain(value: Any) -> Any:
    return value.encode() if isinstance(value, str) else value


def _mode(shared: bool) -> bytes:
    return b"shared" if shared else b"exclusive"


def _wrong_type() -> ReplyError:
    return ReplyError("WRONGTYPE Operation against a key holding the wrong kind of value")


def _options(args: list[Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    rest = iter(args)
    for arg in rest:
        name = show(arg).upper()
        found[name] = True if name in _FLAGS else next(rest)
    return found


def _parse(keys: list[bytes], owner: bytes, args: list[Any], multi: bool) -> Ask:
    options = _options(args)
    return Ask(
        keys,
        show(owner),
        int(options.get("PX", 30_000)) / 1000,
        shared="SHARED" in options,
        limit=int(options.get("LIMIT", 0)),
        weight=int(options.get("WEIGHT", 1)),
        session="SESSION" in options,
        most=int(options["MAX"]) / 1000 if "MAX" in options else math.inf,
        delay=int(options.get("DELAY", 0)) / 1000,
        block=int(options["BLOCK"]) / 1000 if "BLOCK" in options else None,
        multi=multi,
    )


def _matches(key: bytes, options: dict[str, Any]) -> bool:
    from fnmatch import fnmatchcase

    pattern = options.get("MATCH")
    return pattern is None or fnmatchcase(show(key), show(pattern))


def _owned(lock: FakeLock, options: dict[str, Any]) -> bool:
    owner = options.get("OWNER")
    return owner is None or show(owner) in lock.holds
