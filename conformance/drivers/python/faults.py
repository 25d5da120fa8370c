"""Breaks the client on purpose, so that the suite can show that it finds the fault."""

from __future__ import annotations

import time
from typing import Any

from redislock_client import _core, _engine, _hold, _keeper, _requests, _withdrawal


def plant(name: str) -> None:
    if name == "":
        return
    {
        "release-first": release_first,
        "no-jitter": no_jitter,
        "no-clock": no_clock,
        "forget-all": forget_all,
        "no-retry": no_retry,
    }[name]()


def release_first() -> None:
    """The RELEASE goes over another connection, without waiting for the ACQUIRE."""

    def abandon(self: Any, request: Any, attempt: Any) -> None:
        if attempt.link is not None:
            attempt.link.close()

        async def release() -> None:
            link = None
            try:
                node = await self.router.node(self.slot(request.keys[0]))
                link = await node.open()
                link.send([request.release()])
                await link.recv(1.0)
            except _core.LinkError:
                pass
            finally:
                if link is not None:
                    link.close()

        self._settle(release(), request)

    _engine.Engine._abandon = abandon  # type: ignore[method-assign]


def no_jitter() -> None:
    """Requests to a server that refuses them are repeated at once."""
    _core.Backoff.pause = lambda self: 0.0  # type: ignore[method-assign]


def no_clock() -> None:
    """Only timers say that a lease is over, and they stand still with the machine."""

    def held(self: Any) -> bool:
        return self.state == "held"

    _hold.HoldState.held = property(held)  # type: ignore[method-assign,assignment]
    for module in (_core, _engine, _hold, _keeper, _requests, _withdrawal):
        module.lease_clock = time.monotonic  # type: ignore[attr-defined]


def forget_all() -> None:
    """After one time-out every connection is thrown away, and every hold makes one of its own."""
    original = _engine.Engine._examine

    async def examine(self: Any, node: Any, channel: Any, slot: int) -> None:
        for each in list(self._nodes.values()):
            for link in each.links():
                link.close()
        for _ in self.keeper.holds:
            self.rt.spawn(connect(node), "planted fault")
        await original(self, node, channel, slot)

    async def connect(node: Any) -> None:
        try:
            (await node.open()).close()
        except _core.LinkError:
            pass

    _engine.Engine._examine = examine  # type: ignore[method-assign]


def no_retry() -> None:
    """A wait ends with the first error that it should outlive."""
    _engine.Engine._passes = lambda self, error: False  # type: ignore[method-assign]

    async def ask(self: Any, request: Any, deadline: float, attempt: Any, durable: int) -> Any:
        try:
            return await original(self, request, deadline, attempt, durable)
        finally:
            attempt.failures = 0

    original = _engine.Engine._ask
    _engine.Engine._ask = ask  # type: ignore[method-assign]

    async def wait(self: Any, node: Any, slot: int, *args: Any) -> Any:
        try:
            return await waits(self, node, slot, *args)
        except _core.LinkError as error:
            raise _engine.Late(str(error)) from error

    waits = _engine.Engine._wait
    _engine.Engine._wait = wait  # type: ignore[method-assign]
