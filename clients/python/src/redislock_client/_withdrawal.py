"""Giving locks back, whatever happened before."""

from __future__ import annotations

import logging
import os
from collections.abc import Coroutine
from typing import Any, Optional

from ._core import (
    Backoff,
    Command,
    LinkError,
    Request,
    lease_clock,
)
from ._hold import HoldState
from ._io import NOTHING, Channel, Link, Pending
from ._nodes import Node
from ._requests import Attempt, Requests
from .errors import (
    LockError,
    NotAcquired,
    Unreachable,
    WrongType,
)

logger = logging.getLogger("redislock_client")

# After a connection broke, what was on its way may still arrive at the server for a while.
SETTLE = 10.0


class Withdrawal(Requests):
    """Releases holds, and withdraws what may still be on its way to a server."""

    async def release(self, hold: HoldState, cool_ms: int = 0) -> Optional[bool]:
        """True, False if it had ended before, None if no server answered in time: then it is
        repeated in the background until the lease would be over."""
        if hold.pid != os.getpid() or self.closed:
            return None
        ended = not hold.finish()
        try:
            return await self._release_now(hold, cool_ms, ended)
        except BaseException:
            # Whatever interrupted it (Ctrl-C, a signal's handler), the release goes out.
            if not hold.settled:
                command = hold.request.release_hold(hold.fence, cool_ms)
                self._settle(self._repeat(hold.slot, command, hold.until), hold.request)
            raise

    async def _release_now(self, hold: HoldState, cool_ms: int, ended: bool) -> Optional[bool]:
        self.keeper.remove(hold)
        held = lease_clock() - hold.granted_at
        request = hold.request
        command = request.release_hold(hold.fence, cool_ms)
        # A hold that ended before may still be there, if only this process's clock said so.
        answer = await self.rt.shield(
            self._release(hold, command), 2 * self.options.request_timeout
        )
        if not ended:
            self._tell(lambda h: h.released(request.name, request.owner, held))
        return False if ended else answer

    async def _release(self, hold: HoldState, command: Command) -> Optional[bool]:
        request = hold.request
        end = max(hold.until, lease_clock() + self.options.request_timeout)
        answer: Optional[bool] = None
        try:
            hold.settled = True
            sends = [0]
            reply = await self.execute(
                hold.slot, command, self.options.request_timeout, count=sends
            )
            # A second one finds nothing, if the reply to the first was lost.
            answer = True if reply else None if sends[0] > 1 else False
        except WrongType:
            # Somebody put something else in its place.
            answer = False
        except Unreachable as error:
            logger.warning("the release of %s goes on in the background: %s", request.name, error)
            self._settle(self._repeat(hold.slot, command, end), request)
        except BaseException as error:
            self._settle(self._repeat(hold.slot, command, end), request)
            if not isinstance(error, LockError):
                raise
            logger.warning("%s could not be released: %s", request.name, error)
        # An ACQUIRE of this owner may still arrive over another connection.
        self._recall(request, hold.strays, hold.stray, end)
        if hold.link is not None:
            hold.link_node.give_back(hold.link)
            hold.link = None
        return answer

    def _went_astray(self, attempt: Attempt) -> None:
        """The connection is of no use any more, but the request may still be on its way."""
        if not attempt.on_way:
            return
        channel = attempt.channel
        if channel is not None and not channel.closed:
            attempt.strays.append(channel)
        else:
            attempt.stray = True

    def _abandon(self, request: Request, attempt: Attempt) -> None:
        """Whatever may have been granted is given back, without keeping the caller waiting."""
        link, node = attempt.link, attempt.node
        if not attempt.on_way:
            if link is not None and node is not None:
                node.give_back(link)
            self._recall(request, attempt.strays, attempt.stray, attempt.sent + request.lease)
            return
        channel = attempt.channel
        try:
            if node is not None and link is not None and not link.closed:
                # Behind the ACQUIRE, on its connection, so that it cannot overtake it. The server
                # reads that only when the wait is over, so another one ends the wait.
                link.send([request.release()])
                channel = node.peek()
                if channel is not None:
                    channel.post([request.release()])
                self._settle(self._withdraw(request, attempt, node, link), request)
                return
        except LinkError:
            logger.debug("the connection of an abandoned acquisition is lost")
        self._went_astray(attempt)
        self._recall(request, attempt.strays, attempt.stray, attempt.sent + request.lease)

    def _recall(self, request: Request, channels: list[Channel], stray: bool, end: float) -> None:
        """Sends a RELEASE behind each request that may still be on its way."""
        pending = []
        for channel in channels:
            try:
                pending.append(channel.post([request.release()]))
            except LinkError:
                stray = True
        if pending or stray:
            self._settle(self._recalled(request, pending, stray, end), request)

    async def _recalled(
        self, request: Request, pending: list[Pending], stray: bool, end: float
    ) -> None:
        for each in pending:
            await each.wait(max(0.0, end - lease_clock()))
            stray = stray or each.error is not None
        if stray:
            await self._repeat(self.slot(request.keys[0]), request.release(), end)

    async def _withdraw(self, request: Request, attempt: Attempt, node: Node, link: Link) -> None:
        """Sees to it that the RELEASE arrives, as long as the lease could last."""
        end = attempt.sent + request.lease
        slot = self.slot(request.keys[0])
        backoff = Backoff(0.2, self.options.probe_interval)
        try:
            while link.owed and lease_clock() < end:
                if await link.recv(backoff.pause()) is not NOTHING:
                    continue
                if await self._is_gone(node, slot):
                    break
                channel = node.peek()
                if channel is not None:
                    channel.post([request.release()])
        except LinkError:
            logger.debug("the connection of an abandoned acquisition was lost")
        stray = attempt.stray
        if link.closed or link.owed:
            link.close()
            stray = True
        else:
            node.give_back(link)
        pending = [c.post([request.release()]) for c in attempt.strays if not c.closed]
        stray = stray or len(pending) < len(attempt.strays)
        await self._recalled(request, pending, stray, end)

    async def _repeat(self, slot: int, command: Command, end: float) -> None:
        """Sends it again and again, until nothing that was sent before can arrive after it."""
        backoff = Backoff(0.1, 3.0)
        settled: Optional[float] = None
        while lease_clock() < end:
            try:
                await self.execute(slot, command, self.options.request_timeout)
                if settled is None:
                    settled = lease_clock()
                elif lease_clock() - settled >= SETTLE:
                    return
            except LockError as error:
                logger.debug("a release could not be sent: %s", error)
                settled = None
            await self.rt.sleep(min(backoff.pause(), max(0.0, end - lease_clock())))

    async def _repeat_once(self, hold: HoldState) -> None:
        try:
            await self.execute(
                hold.slot, hold.request.release_hold(hold.fence), self.options.request_timeout
            )
        except LockError as error:
            logger.warning("%s could not be released: %s", hold.request.name, error)
        if hold.link is not None:
            hold.link.close()
            hold.link = None

    def _settle(self, job: Coroutine[Any, Any, None], request: Request) -> None:
        """Runs a withdrawal in the background. Until it is done, this owner asks for none of
        these locks again: the RELEASE would end the new hold."""
        names = [(request.owner, key) for key in request.keys]

        async def settle() -> None:
            try:
                await job
            except Exception:
                logger.exception("giving a lock back failed")
            finally:
                with self._guard:
                    self.settling -= 1
                    for name in names:
                        self._withdrawn[name] -= 1
                        if not self._withdrawn[name]:
                            del self._withdrawn[name]

        with self._guard:
            self.settling += 1
            for name in names:
                self._withdrawn[name] = self._withdrawn.get(name, 0) + 1
        self.rt.spawn(settle(), "withdrawal")

    async def _after_withdrawal(self, request: Request, deadline: float) -> None:
        while any((request.owner, key) in self._withdrawn for key in request.keys):
            if self.rt.now() >= deadline:
                raise NotAcquired(f"{request.name}: an earlier request of its owner still ends")
            await self.rt.sleep(0.01)

    def lost(self, hold: HoldState) -> None:
        request, reason = hold.request, hold.reason
        if reason in ("expired", "denied") and not request.delay_ms:
            # Should the server see that later than this clock, others need not wait for it.
            self._settle(self._repeat_once(hold), request)
        if hold.link is not None:
            hold.link.close()
            hold.link = None
        logger.warning("%s was lost (%s), owner %s", request.name, reason, request.owner)
        self._tell(lambda h: h.lost(request.name, request.owner, reason))
