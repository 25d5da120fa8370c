"""Acquiring: what is the same for threads and asyncio."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from typing import Any, Callable, Optional

from ._core import (
    PASSING,
    Command,
    Key,
    LinkError,
    Refused,
    ReplyError,
    Request,
    lease_clock,
)
from ._hold import HoldState
from ._io import NOTHING, Link, Mutex
from ._nodes import Node, Options
from ._requests import Attempt, Late
from ._withdrawal import Withdrawal
from .errors import (
    ClientClosed,
    NotAcquired,
    NotDurable,
    NotHeld,
    Unreachable,
    from_server,
)

logger = logging.getLogger("redislock_client")


@dataclass
class Grant:
    fences: list[int]
    sent: float
    link: Optional[Link]
    node: Node


class Engine(Withdrawal):
    """Everything that a client does, for one process and one event loop."""

    async def acquire(
        self,
        request: Request,
        timeout: float,
        *,
        renew: bool,
        durable: int,
        durable_timeout: float,
        cancelled: Optional[Callable[[], bool]] = None,
    ) -> HoldState:
        """Raises NotAcquired and the other errors. `timeout` may be 0 and `inf`."""
        self._check_open()
        if self.ending:
            raise ClientClosed("the client is closed")
        began = self.rt.now()
        deadline = began + timeout
        attempt = Attempt(cancelled)
        gate = await self._enter(request, timeout)
        try:
            await self._after_withdrawal(request, deadline)
            grant = await self._ask(request, deadline, attempt, durable)
            hold = await self._hold(request, grant, renew, attempt)
            if durable:
                await self._confirm(hold, grant, durable, durable_timeout)
            self.keeper.add(hold)
        except BaseException as error:
            self._abandon(request, attempt)
            waited = self.rt.now() - began
            self._tell(lambda h: h.refused(request.name, request.owner, waited))
            if isinstance(error, ReplyError):
                raise from_server(error.text) from None
            raise
        finally:
            self._leave(request, gate)
        hold.stray, hold.strays = attempt.stray, attempt.strays
        if not request.session and grant.link is not None:
            grant.node.give_back(grant.link)
        waited = self.rt.now() - began
        self._tell(lambda h: h.acquired(request.name, request.owner, waited))
        return hold

    async def _ask(
        self, request: Request, deadline: float, attempt: Attempt, durable: int
    ) -> Grant:
        """Asks until it is granted or the time is over, whatever happens to the servers."""
        slot = self.slot(request.keys[0])
        # A caller that does not wait is still owed an answer.
        patience = max(deadline, self.rt.now() + self.options.request_timeout)
        own = request.session or durable > 0
        backoff = self._backoff()
        while True:
            self._check_open()
            self._check_cancelled(attempt)
            try:
                node = attempt.asking or await self.router.node(slot)
                if own or attempt.waits:
                    reply = await self._wait(node, slot, request, deadline, attempt)
                else:
                    reply = await self._try(node, slot, request, patience, attempt)
                if reply is not None:
                    # Whoever cancelled it does not want it any more.
                    self._check_cancelled(attempt)
                    fences = list(reply) if isinstance(reply, list) else [int(reply)]
                    return Grant(fences, attempt.sent, attempt.link, node)
                if self.rt.now() >= deadline:
                    raise NotAcquired(f"others held {request.name} for {self._span(deadline)}")
                attempt.waits = True
                continue
            except LinkError as error:
                if isinstance(error, Refused) and error.is_final:
                    raise from_server(error.text) from None
                attempt.failure = str(error)
                attempt.asking = None
                self._went_astray(attempt)
                if isinstance(error, Late):
                    raise self._late(request, attempt, late=True) from None
            except ReplyError as error:
                attempt.asking = None
                if not self._passes(error):
                    raise
                attempt.refusal = error
                attempt.asking = await self.redirect(node, error)
                if attempt.asking is not None or error.code == "MOVED":
                    backoff = backoff if attempt.failure else self._backoff()
                    attempt.failure = error.code
                    if self.rt.now() < patience:
                        continue
            left = patience - self.rt.now()
            if left <= 0:
                raise self._late(request, attempt)
            await self.rt.sleep(min(left, backoff.pause()))

    async def _try(
        self, node: Node, slot: int, request: Request, patience: float, attempt: Attempt
    ) -> Any:
        """Without waiting, on the connection for all commands."""
        channel = await self._channel(node)
        attempt.node, attempt.channel, attempt.link = node, channel, None
        commands: list[Command] = [request.acquire(None)]
        if attempt.asking is not None:
            commands.insert(0, ("ASKING",))
        attempt.sent = lease_clock()
        attempt.on_way = True
        pending = channel.post(commands)
        left = max(0.0, patience - self.rt.now())
        replies = await self.replies(node, channel, pending, slot, left, attempt)
        return self._answered(replies[-1], attempt)

    async def _wait(
        self, node: Node, slot: int, request: Request, deadline: float, attempt: Attempt
    ) -> Any:
        """In the server's queue, on a connection of its own."""
        try:
            link = await node.borrow()
        except LinkError:
            self.router.doubt(node)
            raise
        attempt.node, attempt.channel, attempt.link = node, None, link
        attempt.refusal = None
        left = deadline - self.rt.now()
        commands: list[Command] = [request.acquire(left if left > 0 else None)]
        if attempt.asking is not None:
            commands.insert(0, ("ASKING",))
        attempt.sent = lease_clock()
        attempt.on_way = True
        self._waiting[link] = (node, request)
        try:
            link.send(commands)
            reply = await self._listen(node, slot, link, deadline, attempt)
        except LinkError as error:
            if not isinstance(error, Late):
                link.close()
                self.router.doubt(node)
            raise
        finally:
            self._waiting.pop(link, None)
        try:
            return self._answered(reply, attempt)
        finally:
            if not attempt.on_way or (isinstance(reply, ReplyError) and link.owed == 0):
                attempt.link = None
                node.give_back(link)

    async def _listen(
        self,
        node: Node,
        slot: int,
        link: Link,
        deadline: float,
        attempt: Optional[Attempt] = None,
    ) -> Any:
        """The last reply that the link owes. Looks meanwhile whether the server is still there."""
        # The server ends the wait by itself, and its answer takes a moment.
        limit = max(deadline, self.rt.now()) + self.options.request_timeout
        interval = self.options.probe_interval
        looked = self.rt.now()
        while True:
            left = min(limit, looked + interval) - self.rt.now()
            reply = await link.recv(self._slice(max(0.0, left), attempt))
            if self.closed:
                raise ClientClosed("the client was closed")
            self._check_cancelled(attempt)
            if reply is not NOTHING:
                if link.owed == 0:
                    return reply
                continue
            if self.rt.now() >= limit:
                raise Late(f"{node.endpoint} did not answer in time")
            if self.rt.now() < looked + interval:
                continue
            looked = self.rt.now()
            if await self._is_gone(node, slot):
                raise LinkError(f"{node.endpoint} is not the primary any more")

    def _answered(self, reply: Any, attempt: Attempt) -> Any:
        if isinstance(reply, ReplyError):
            # With UNBLOCKED it may have been granted the moment before.
            attempt.on_way = reply.code == "UNBLOCKED"
            raise reply
        attempt.on_way = reply is not None
        return reply

    async def _hold(
        self, request: Request, grant: Grant, renew: bool, attempt: Attempt
    ) -> HoldState:
        # The lease began with the grant, at some time since the request was sent.
        until = grant.sent + request.lease
        hold = HoldState(request, grant.fences, until, renew)
        hold.slot = self.slot(request.keys[0])
        if request.session:
            hold.link, hold.link_node = grant.link, grant.node
        if request.max_ms:
            hold.bound(grant.sent + request.max_ms / 1000)
        if lease_clock() - grant.sent > request.lease / 4:
            await self._measure(hold, request)
        return hold

    async def _measure(self, hold: HoldState, request: Request) -> None:
        """After a long wait the server says how much of the lease is left."""
        sent = lease_clock()
        replies = []
        for command in request.checks():
            patience = max(self.options.request_timeout, request.lease)
            reply = await self.execute(hold.slot, command, patience)
            if reply is None:
                raise (
                    hold.error()
                    if not hold.held
                    else NotHeld(f"{request.name} was lost right after its grant")
                )
            replies.append(reply[1])
        hold.checked(sent, min(replies) / 1000, hold.version)
        if request.max_ms:
            # It began at most this long ago.
            age = request.lease - min(replies) / 1000
            hold.bound(sent - max(0.0, age) + request.max_ms / 1000)

    async def _confirm(self, hold: HoldState, grant: Grant, wanted: int, timeout: float) -> None:
        """Waits until enough replicas have the grant. On the same connection, or it counts less."""
        link = grant.link
        assert link is not None
        name = hold.request.name
        try:
            link.send([("WAIT", wanted, max(1, math.ceil(timeout * 1000)))])
            reply = await self._listen(grant.node, hold.slot, link, self.rt.now() + timeout)
        except LinkError as error:
            link.close()
            raise NotDurable(f"{name}: no answer from its server: {error}", 0, wanted) from error
        if isinstance(reply, ReplyError):
            raise reply
        if reply < wanted:
            raise NotDurable(
                f"{name}: {reply} of {wanted} replicas confirmed it in {timeout:g} s", reply, wanted
            )
        if not hold.held:
            raise hold.error()

    async def extend(self, hold: HoldState, lease_ms: int) -> None:
        hold.raise_if_lost()
        sent = lease_clock()
        reply = await self.execute(
            hold.slot,
            hold.request.extend(hold.fence, lease_ms),
            max(self.options.request_timeout, min(hold.remaining(), 30.0)),
        )
        if reply != len(hold.request.keys):
            self.keeper.lose(hold, "gone")
            raise hold.error()
        hold.extended(sent, lease_ms)
        self.keeper.moved(hold, True)

    async def check(self, hold: HoldState) -> list[Any]:
        """The replies of LOCK.CHECK for each of its keys. Notices a loss."""
        sent, version = lease_clock(), hold.version
        replies = [
            await self.execute(hold.slot, (*command, "WAITERS"), 5 * self.options.request_timeout)
            for command in hold.request.checks()
        ]
        held = all(r is not None and r[0] == f for r, f in zip(replies, hold.fences))
        if held:
            hold.checked(sent, min(r[1] for r in replies) / 1000, version)
        elif hold.state == "held":
            self.keeper.lose(hold, "gone")
        return replies if held else []

    async def downgrade(self, hold: HoldState) -> None:
        hold.raise_if_lost()
        command = hold.request.downgrade(hold.fence)
        if not await self.execute(hold.slot, command, 5 * self.options.request_timeout):
            self.keeper.lose(hold, "gone")
            raise hold.error()

    async def close(self, grace: float) -> None:
        """Releases all holds, and lets withdrawals end for `grace` seconds."""
        if self.ending:
            return
        self.ending = True
        end = self.rt.now() + grace
        # The waits first, so that no hold is handed over to one of them.
        for node, request in list(self._waiting.values()):
            channel = node.peek()
            if channel is not None:
                try:
                    channel.post([request.release()])
                except LinkError:
                    logger.debug("a wait ends with its connection")
        while self._waiting and self.rt.now() < end - grace / 2:
            await self.rt.sleep(0.01)
        for link in list(self._waiting):
            link.close()
        for hold in list(self.keeper.holds):
            if hold.lose("closed"):
                self.keeper.remove(hold)
                self._settle(self._repeat_once(hold), hold.request)
                hold.tell()
        while self.settling > 0 and self.rt.now() < end:
            await self.rt.sleep(0.01)
        self.abort()

    def abort(self) -> None:
        self.ending = self.closed = True
        self.keeper.close()
        self.router.close()
        for link in list(self._waiting):
            link.close()
        for node in list(self._nodes.values()):
            node.close()

    def _passes(self, error: ReplyError) -> bool:
        """Whether a wait outlives this error."""
        return error.code in PASSING

    def _late(self, request: Request, attempt: Attempt, late: bool = False) -> Exception:
        if attempt.refusal is not None:
            return from_server(attempt.refusal.text)
        if late:
            return NotAcquired(f"{request.name} was not granted in time: {attempt.failure}")
        return Unreachable(f"{request.name} could not be asked for: {attempt.failure}")

    def _span(self, deadline: float) -> str:
        return "all of the time-out" if math.isfinite(deadline) else "ever"

    async def _enter(self, request: Request, timeout: float) -> Optional[Mutex]:
        """With `share_waits`, one request of the process waits in the server for each lock."""
        if not self.options.share_waits or request.mode == "shared" or request.multi:
            return None
        key = request.keys[0]
        with self._guard:
            mutex, users = self._gates.get(key) or (self.rt.mutex(), 0)
            self._gates[key] = (mutex, users + 1)
        entered = False
        try:
            entered = await mutex.acquire(None if math.isinf(timeout) else timeout)
        finally:
            if not entered:
                self._forget_gate(key)
        if not entered:
            raise NotAcquired(f"others held {request.name} for all of the time-out")
        return mutex

    def _leave(self, request: Request, gate: Optional[Mutex]) -> None:
        if gate is not None:
            gate.release()
            self._forget_gate(request.keys[0])

    def _forget_gate(self, key: Key) -> None:
        with self._guard:
            mutex, users = self._gates[key]
            if users <= 1:
                del self._gates[key]
            else:
                self._gates[key] = (mutex, users - 1)


__all__ = ["Attempt", "Engine", "Grant", "Late", "Options"]
