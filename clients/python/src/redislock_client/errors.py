"""The errors of this package. Every one is a `LockError`."""

from __future__ import annotations

import re

__all__ = [
    "Cancelled",
    "ClientClosed",
    "Deadlock",
    "LockError",
    "NoPermission",
    "NotAcquired",
    "NotDurable",
    "NotHeld",
    "ServerError",
    "TooMany",
    "Unreachable",
    "WrongType",
]


class LockError(Exception):
    """The base of all errors that this package raises on purpose."""


class NotAcquired(LockError, TimeoutError):
    """Others held the lock for the whole time that the caller was ready to wait."""


class NotHeld(LockError):
    """The hold has ended: by its lease, by its session, or because an operator removed the lock.

    Others may have held the lock since. `reason` says what this client saw: `expired` (its own
    clock passed the end of the lease), `gone` (the server says that the owner holds nothing),
    `max` (the longest time of the hold is over), `denied` (the server no longer lets this user
    extend the hold) or `fork` (this process is a child of the holder).
    """

    def __init__(self, message: str, reason: str = "gone") -> None:
        super().__init__(message)
        self.reason = reason


class NotDurable(LockError):
    """Too few replicas confirmed the grant in time. The lock was released."""

    def __init__(self, message: str, confirmed: int, wanted: int) -> None:
        super().__init__(message)
        self.confirmed = confirmed
        self.wanted = wanted


class Unreachable(LockError, ConnectionError):
    """No server answered within the caller's time, and none said why."""


class Cancelled(LockError):
    """Another thread cancelled the acquisition. See `Cancellation`."""


class ClientClosed(LockError):
    """The client was closed before, or while, the call waited."""


class ServerError(LockError):
    """The server refused the command. The message is the server's text; `code` its first word."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.code = text.split(" ", 1)[0]


class Deadlock(ServerError):
    """Waiting would close a cycle of owners that wait for one another.

    `cycle` is a list of `(owner, waits for owner, lock)`. The server tells the first 32 bytes of
    each name. Release all that this owner holds, and start again.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.cycle: list[tuple[str, str, str]] = _CYCLE.findall(text)


class WrongType(ServerError):
    """The key holds a value that is not a lock."""


class NoPermission(ServerError):
    """The user may not run this command, or not on this key, or could not log in."""


class TooMany(ServerError):
    """A limit of the server is reached: its waiters, its holders, or its memory."""


_CYCLE = re.compile(r"'([^']*)'\S* waits for '([^']*)'\S* \(lock '([^']*)'[^)]*\)")

_BY_CODE: dict[str, type[ServerError]] = {
    "DEADLOCK": Deadlock,
    "WRONGTYPE": WrongType,
    "NOPERM": NoPermission,
    "NOAUTH": NoPermission,
    "WRONGPASS": NoPermission,
    "OOM": TooMany,
}


def from_server(text: str) -> ServerError:
    """The error for what the server answered."""
    kind = _BY_CODE.get(text.split(" ", 1)[0], ServerError)
    if kind is ServerError and "redislock.max-" in text:
        kind = TooMany
    return kind(text)
