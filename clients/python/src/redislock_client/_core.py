"""What needs no I/O: commands, replies, clocks, back-off. Both halves of the package share it."""

from __future__ import annotations

import math
import os
import random
import socket
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Optional, Union

Key = Union[str, bytes]
Arg = Union[str, bytes, int]
Command = tuple[Arg, ...]

MAX_LEASE = 365 * 24 * 3600.0
MAX_DELAY = 3600.0
# The server takes a BLOCK up to this long at a time, and then the client asks again.
MAX_BLOCK = 30 * 24 * 3600.0

_BOOTTIME: Optional[int] = getattr(time, "CLOCK_BOOTTIME", None)


def lease_clock() -> float:
    """Seconds on a clock that also goes on while the machine is suspended, where there is one."""
    if _BOOTTIME is not None:
        return time.clock_gettime(_BOOTTIME)
    return time.monotonic()


def new_owner(prefix: str) -> str:
    return f"{prefix}/{uuid.uuid4().hex[:20]}"


def owner_prefix(label: Optional[str]) -> str:
    """`label/host/pid`, so that LOCK.INFO leads to the process."""
    parts = [label] if label else []
    parts += [socket.gethostname() or "unknown", str(os.getpid())]
    prefix = "/".join(parts)
    if len(prefix.encode()) > 1000:
        raise ValueError("label is too long: label, host and process id take at most 1000 bytes")
    return prefix


def client_name(prefix: str) -> str:
    """The prefix as CLIENT SETNAME takes it: printable, without spaces."""
    return "".join(c if "!" <= c <= "~" else "_" for c in f"redis-lock:{prefix}")


def milliseconds(name: str, seconds: float, longest: float) -> int:
    """A duration as the server takes it; ValueError if it is not within 1 ms and `longest`."""
    if not (isinstance(seconds, (int, float)) and 0 < seconds <= longest):
        raise ValueError(
            f"{name} must be a number of seconds above 0 and at most {longest:g}, not {seconds!r}"
        )
    return max(1, math.ceil(seconds * 1000))


def check_timeout(timeout: Optional[float]) -> float:
    """The seconds a caller waits: `inf` for None."""
    if timeout is None:
        return math.inf
    if not isinstance(timeout, (int, float)) or math.isnan(timeout) or timeout < 0:
        raise ValueError(f"timeout must be None or a number of seconds from 0, not {timeout!r}")
    return float(timeout)


class Backoff:
    """Growing pauses with full jitter, in seconds."""

    def __init__(self, first: float = 0.02, most: float = 1.0) -> None:
        self._next = first
        self._most = most

    def pause(self) -> float:
        limit = self._next
        self._next = min(self._most, self._next * 2)
        return random.uniform(limit / 4, limit)


@dataclass(frozen=True)
class Request:
    """What is asked for, in the server's units."""

    keys: tuple[Key, ...]
    owner: str
    lease_ms: int
    mode: str = "exclusive"
    limit: int = 0
    weight: int = 1
    session: bool = False
    max_ms: int = 0
    delay_ms: int = 0
    # Several locks in one step, with the M commands. With one key too.
    multi: bool = False

    @property
    def lease(self) -> float:
        return self.lease_ms / 1000

    @property
    def name(self) -> str:
        return ", ".join(show(key) for key in self.keys)

    def acquire(self, block: Optional[float]) -> Command:
        """LOCK.ACQUIRE. `block` None: do not wait; `inf`: wait without limit."""
        args: list[Arg] = [*self._head("ACQUIRE"), "PX", self.lease_ms]
        if block is not None:
            ms = 0 if math.isinf(block) else max(1, math.ceil(min(block, MAX_BLOCK) * 1000))
            args += ["BLOCK", ms]
        if self.mode != "exclusive":
            args.append("SHARED")
        if self.mode == "counted":
            args += ["LIMIT", self.limit]
            if self.weight != 1:
                args += ["WEIGHT", self.weight]
        if self.session:
            args.append("SESSION")
        if self.max_ms:
            args += ["MAX", self.max_ms]
        if self.delay_ms:
            args += ["DELAY", self.delay_ms]
        return tuple(args)

    def release(self) -> Command:
        """LOCK.RELEASE of whatever this owner holds or waits for."""
        return self._head("RELEASE")

    def release_hold(self, fence: int, cool_ms: int = 0) -> Command:
        if self.multi:
            return self.release()
        cool: Command = ("COOL", cool_ms) if cool_ms else ()
        return (*self.release(), "FENCE", fence, *cool)

    def downgrade(self, fence: int) -> Command:
        return (*self.release(), "FENCE", fence, "DOWNGRADE")

    def extend(self, fence: int, lease_ms: int) -> Command:
        if self.multi:
            return (*self._head("EXTEND"), "PX", lease_ms)
        return (*self._head("EXTEND"), "PX", lease_ms, "FENCE", fence)

    def checks(self) -> list[Command]:
        return [("LOCK.CHECK", key, self.owner) for key in self.keys]

    def _head(self, verb: str) -> Command:
        if self.multi:
            return (f"LOCK.M{verb}", len(self.keys), *self.keys, self.owner)
        return (f"LOCK.{verb}", self.keys[0], self.owner)


class ReplyError(Exception):
    """An error that the server answered, as a value; `code` is its first word."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text
        self.code = text.split(" ", 1)[0]

    def redirection(self) -> Optional[tuple[str, int, int]]:
        """Host, port and slot of -MOVED and -ASK."""
        if self.code not in ("MOVED", "ASK"):
            return None
        _, slot, address = self.text.split(" ")[:3]
        host, port = address.rsplit(":", 1)
        return host, int(port), int(slot)


class LinkError(Exception):
    """The connection failed, or could not be made."""


class Refused(LinkError):
    """The server refused the connection, and said why."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    @property
    def is_final(self) -> bool:
        """Whether it would say the same again: the credentials are wrong."""
        return self.text.split(" ", 1)[0] in ("NOPERM", "NOAUTH", "WRONGPASS")


def link_error(error: BaseException) -> LinkError:
    """What redis-py raised while it made a connection."""
    text = server_text(error)
    kind = type(error).__name__
    if kind in _CODES or kind in ("ResponseError", "AuthenticationError"):
        return Refused(text)
    return LinkError(text or kind)


# A wait asks again after these.
PASSING = frozenset(
    ["TRYAGAIN", "CLUSTERDOWN", "MASTERDOWN", "LOADING", "READONLY", "UNBLOCKED", "MOVED", "ASK"]
)

# redis-py takes the code off these.
_CODES = {
    "ReadOnlyError": "READONLY",
    "BusyLoadingError": "LOADING",
    "NoPermissionError": "NOPERM",
    "OutOfMemoryError": "OOM",
    "MovedError": "MOVED",
    "AskError": "ASK",
    "TryAgainError": "TRYAGAIN",
    "ClusterDownError": "CLUSTERDOWN",
    "MasterDownError": "MASTERDOWN",
    "ClusterCrossSlotError": "CROSSSLOT",
    "AuthenticationError": "NOAUTH",
}


# Other codes that redis-py leaves in the text. It takes ERR off.
_KEPT = frozenset(
    ["BUSY", "DEADLOCK", "ERR", "MISCONF", "NOPROTO", "NOREPLICAS", "UNBLOCKED", "WRONGTYPE"]
) | frozenset(_CODES.values())


def server_text(error: BaseException) -> str:
    """What the server said, with its code, whichever version of redis-py read it."""
    text = str(error)
    code = _CODES.get(type(error).__name__)
    if type(error).__name__ == "ResponseError" and text.split(" ", 1)[0] not in _KEPT:
        code = "ERR"
    if code is None or text.split(" ", 1)[0] == code:
        return text
    return f"{code} {text}"


def show(value: Union[Key, Any]) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def as_bytes(key: Key) -> bytes:
    return key.encode() if isinstance(key, str) else bytes(key)


@dataclass(frozen=True)
class Holder:
    """One holder of a lock. Times are in seconds."""

    owner: str
    fence: int
    expires_in: float
    held: float
    limit: int = 0
    session: int = 0
    weight: int = 1
    max: float = 0.0


@dataclass(frozen=True)
class Waiter:
    """One client in the queue of a lock. `waited` is in seconds."""

    owner: str
    mode: str
    waited: float
    client: int


@dataclass(frozen=True)
class LockInfo:
    """What LOCK.INFO tells: the first 100 holders and the first 10 waiters."""

    mode: str
    holders_count: int
    holders: Sequence[Holder]
    waiters: int
    queue: Sequence[Waiter]
    cooling: float


@dataclass(frozen=True)
class LockEntry:
    """One lock of LOCK.LIST or LOCK.TOP. Times are in seconds."""

    key: bytes
    mode: str
    owner: str
    holders_count: int
    fence: int
    expires_in: float
    held: float
    waiters: int
    waited: float = 0.0
    queue: Sequence[Waiter] = field(default_factory=tuple)


@dataclass(frozen=True)
class Check:
    """What LOCK.CHECK tells. `expires_in` is in seconds."""

    fence: int
    expires_in: float
    waiters: int = 0


def _fields(flat: Any) -> Mapping[str, Any]:
    if isinstance(flat, Mapping):
        return {show(k): v for k, v in flat.items()}
    return {show(flat[i]): flat[i + 1] for i in range(0, len(flat), 2)}


def _waiters(reply: Any) -> tuple[Waiter, ...]:
    found = (_fields(w) for w in reply)
    return tuple(
        Waiter(show(w["owner"]), show(w["mode"]), w["waited"] / 1000, int(w.get("client", 0)))
        for w in found
    )


def decode_info(reply: Any) -> Optional[LockInfo]:
    if reply is None:
        return None
    info = _fields(reply)
    holders = tuple(
        Holder(
            owner=show(h["owner"]),
            fence=int(h["fence"]),
            expires_in=h["ttl"] / 1000,
            held=h["held"] / 1000,
            limit=int(h.get("limit", 0)),
            session=int(h.get("session", 0)),
            weight=int(h.get("weight", 1)),
            max=h.get("max", 0) / 1000,
        )
        for h in map(_fields, info["holders"])
    )
    return LockInfo(
        mode=show(info["mode"]),
        holders_count=int(info["holders-count"]),
        holders=holders,
        waiters=int(info["waiters"]),
        queue=_waiters(info["queue"]),
        cooling=info.get("cooling", 0) / 1000,
    )


def decode_entry(reply: Any) -> LockEntry:
    entry = _fields(reply)
    return LockEntry(
        key=as_bytes(entry["key"]),
        mode=show(entry["mode"]),
        owner=show(entry["owner"]),
        holders_count=int(entry["holders-count"]),
        fence=int(entry["fence"]),
        expires_in=entry["ttl"] / 1000,
        held=entry["held"] / 1000,
        waiters=int(entry["waiters"]),
        waited=entry.get("waited", 0) / 1000,
        queue=_waiters(entry.get("queue", ())),
    )


def decode_check(reply: Any) -> Optional[Check]:
    if reply is None:
        return None
    waiters = int(reply[2]) if len(reply) > 2 else 0
    return Check(fence=int(reply[0]), expires_in=reply[1] / 1000, waiters=waiters)


def key_slot(key: Key) -> int:
    """The cluster slot of a key."""
    from redis.crc import key_slot as slot

    return int(slot(as_bytes(key)))
