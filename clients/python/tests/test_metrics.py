"""The instruments for OpenTelemetry, with a meter that counts."""

from __future__ import annotations

from collections import Counter
from typing import Any

from redislock_client import NotAcquired
from redislock_client.fake import FakeServer
from redislock_client.hooks import OpenTelemetryHooks
from servers import until


class Meter:
    def __init__(self) -> None:
        self.seen: Counter[str] = Counter()

    def create_histogram(self, name: str, unit: str = "") -> Any:
        return Instrument(name, self.seen)

    create_counter = create_histogram


class Instrument:
    def __init__(self, name: str, seen: Counter[str]) -> None:
        self.name = name
        self.seen = seen

    def record(self, value: float, attributes: Any = None) -> None:
        assert value >= 0
        self.seen[f"{self.name} {attributes or ''}".strip()] += 1

    add = record


def test_instruments_count() -> None:
    meter = Meter()
    server = FakeServer()
    with server.locks(hooks=[OpenTelemetryHooks(meter)]) as locks:
        with locks.lock("k", lease=0.3) as hold:
            try:
                locks.lock("k", timeout=0).take()
            except NotAcquired:
                pass
            until(lambda: meter.seen["redislock.client.renewals"] > 0)
            assert hold.held
        lost = locks.lock("k", lease=60).take()
        server.break_lock("k")
        until(lambda: lost.lost_reason == "gone")
        until(lambda: meter.seen["redislock.client.losses {'reason': 'gone'}"] == 1)
    assert meter.seen["redislock.client.wait {'result': 'acquired'}"] == 2
    assert meter.seen["redislock.client.wait {'result': 'refused'}"] == 1
    assert meter.seen["redislock.client.hold"] == 1
