"""What a client knows about one hold. Nothing here does I/O."""

from __future__ import annotations

import logging
import os
import threading
from typing import Any, Callable, Optional

from ._core import Request, lease_clock
from .errors import NotHeld

logger = logging.getLogger("redislock_client")

LostCallback = Callable[["HoldState"], None]


class HoldState:
    """One hold. It ends once: by its release, or by its loss."""

    def __init__(self, request: Request, fences: list[int], until: float, renew: bool) -> None:
        self.request = request
        self.fences = fences
        self.fence = max(fences)
        self.lease_ms = request.lease_ms
        # Whether it is to be renewed; and whether it is, because somebody has it who can release
        # it. An exception at the wrong moment (Ctrl-C) can keep it from reaching anybody.
        self.renewable = renew
        self.renew = False
        self.granted_at = lease_clock()
        self.pid = os.getpid()
        self.slot = -1
        # Whether another request of its owner may still be on its way to a server.
        self.stray = False
        self.strays: list[Any] = []
        # Counts the extensions.
        self.version = 0
        # The connection that a session is bound to, and its node.
        self.link: Any = None
        self.link_node: Any = None
        # `held`, `released` or `lost`
        self.state = "held"
        self.reason = ""
        # Whether its release was answered, or goes on in the background.
        self.settled = False
        # Why it cannot be renewed any more, if the server refuses that.
        self.refusal = ""
        self._until = until
        self._most: Optional[float] = None
        self._callbacks: list[LostCallback] = []
        self._guard = threading.Lock()

    @property
    def until(self) -> float:
        """When it ends by this client's count, on `lease_clock`. Never later than the server's."""
        return self._until if self._most is None else min(self._until, self._most)

    @property
    def held(self) -> bool:
        return self.state == "held" and self.remaining() > 0 and self.pid == os.getpid()

    def remaining(self) -> float:
        return self.until - lease_clock()

    @property
    def is_bounded(self) -> bool:
        """Whether no extension can move its end any more."""
        return self._most is not None and self._most <= self._until

    def bound(self, end: float) -> None:
        self._most = end

    def extended(self, sent: float, lease_ms: int) -> None:
        self._until = sent + lease_ms / 1000
        self.lease_ms = lease_ms
        self.version += 1

    def checked(self, sent: float, remaining: float, version: int) -> None:
        """The server said how much is left. That may be less, after somebody else's EXTEND."""
        # Unless it was extended after the question had been sent.
        if version == self.version:
            self._until = sent + remaining

    def finish(self) -> bool:
        """It is released from now on. False if it had ended before."""
        with self._guard:
            if self.state != "held":
                return False
            self.state = "released"
            self._callbacks.clear()
            return True

    def lose(self, reason: str) -> bool:
        """It is lost. False if it had ended before. `tell` follows."""
        with self._guard:
            if self.state != "held":
                return False
            self.state, self.reason = "lost", reason
            return True

    def tell(self) -> None:
        """Tells of the loss whoever wants to know."""
        with self._guard:
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            self._tell(callback)

    def on_lost(self, callback: LostCallback) -> None:
        with self._guard:
            if self.state == "held":
                self._callbacks.append(callback)
                return
            if self.state != "lost":
                return
        self._tell(callback)

    def raise_if_lost(self) -> None:
        if not self.held:
            raise self.error()

    def error(self) -> NotHeld:
        if self.pid != os.getpid():
            return NotHeld(f"{self.request.name} is held by the parent of this process", "fork")
        if self.state == "released":
            return NotHeld(f"{self.request.name} was released", "released")
        reason = self.reason or ("max" if self.is_bounded else "expired")
        why = {
            "expired": "its lease is over by this process's clock",
            "max": "its longest time is over",
            "denied": f"the server refused to extend it ({self.refusal})",
            "closed": "the client was closed",
        }.get(reason, "the server says that it is not held any more")
        return NotHeld(f"{self.request.name} was lost: {why}", reason)

    def _tell(self, callback: LostCallback) -> None:
        try:
            callback(self)
        except Exception:
            logger.exception("a callback for the loss of %s failed", self.request.name)
