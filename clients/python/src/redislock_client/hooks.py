"""What an application can watch: hooks, and OpenTelemetry's instruments if its API is installed."""

from __future__ import annotations

from typing import Any, Optional


class Hooks:
    """Override what you want to be told of. All times are in seconds.

    The methods run on the thread, or in the event loop, that does the work. They must be quick and
    must not block. What they raise is logged and does no harm.
    """

    def acquired(self, key: str, owner: str, waited: float) -> None:
        """A lock was granted, after this time."""

    def refused(self, key: str, owner: str, waited: float) -> None:
        """An acquisition ended without the lock, after this time."""

    def released(self, key: str, owner: str, held: float) -> None:
        """A hold was released after this time."""

    def renewed(self, key: str, owner: str) -> None:
        """A hold was extended in the background."""

    def lost(self, key: str, owner: str, reason: str) -> None:
        """A hold was lost: `expired`, `gone`, `max`, `denied` or `closed`."""


class OpenTelemetryHooks(Hooks):
    """Counters and histograms through OpenTelemetry's API. Keys and owners are no attributes:
    their number has no bound."""

    def __init__(self, meter: Any) -> None:
        self._wait = meter.create_histogram("redislock.client.wait", unit="s")
        self._hold = meter.create_histogram("redislock.client.hold", unit="s")
        self._renewals = meter.create_counter("redislock.client.renewals")
        self._losses = meter.create_counter("redislock.client.losses")

    def acquired(self, key: str, owner: str, waited: float) -> None:
        self._wait.record(waited, {"result": "acquired"})

    def refused(self, key: str, owner: str, waited: float) -> None:
        self._wait.record(waited, {"result": "refused"})

    def released(self, key: str, owner: str, held: float) -> None:
        self._hold.record(held)

    def renewed(self, key: str, owner: str) -> None:
        self._renewals.add(1)

    def lost(self, key: str, owner: str, reason: str) -> None:
        self._losses.add(1, {"reason": reason})


def telemetry() -> Optional[Hooks]:
    """Hooks for OpenTelemetry, or None if its API is not installed."""
    try:
        from opentelemetry import metrics
    except ImportError:
        return None
    return OpenTelemetryHooks(metrics.get_meter("redislock_client"))
