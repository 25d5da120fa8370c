"""Acquiring, releasing and everything between: what is the same for threads and asyncio."""

from __future__ import annotations

import logging
import math
import os
import threading
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, Callable, Optional

from ._core import (
    PASSING,
    Backoff,
    Command,
    Key,
    LinkError,
    Refused,
    ReplyError,
    Request,
    key_slot,
    lease_clock,
)
from ._dial import Endpoint, Target
from ._hold import HoldState
from ._io import NOTHING, Channel, Link, Mutex, Pending, Runtime
from ._keeper import Keeper
from ._nodes import ClusterRouter, Node, Router, SentinelRouter, SingleRouter
from .errors import (
    Cancelled,
    ClientClosed,
    LockError,
    NotAcquired,
    NotDurable,
    NotHeld,
    Unreachable,
    WrongType,
    from_server,
)
from .hooks import Hooks

logger = logging.getLogger("redislock_client")

# After a connection broke, what was on its way may still arrive at the server for a while.
SETTLE = 10.0
# How soon a wait notices, in seconds, that another thread cancelled it.
CANCEL_EVERY = 0.05


@dataclass
class Options:
    """Times are in seconds."""

    request_timeout: float = 1.0
    probe_interval: float = 2.0
    idle_links: int = 8
    tracking: bool = True
    share_waits: bool = False
    hooks: tuple[Hooks, ...] = ()


class Late(LinkError):
    """No answer by the time that the caller gave."""


class Attempt:
    """What of one acquisition may be on its way to a server."""

    def __init__(self, cancelled: Optional[Callable[[], bool]] = None) -> None:
        # Says whether another thread wants it to end.
        self.cancelled = cancelled
        self.on_way = False
        # Whether one was on its way over a connection that was lost: it may arrive at any time.
        self.stray = False
        # Connections that gave no answer, on which one may still be on its way.
        self.strays: list[Channel] = []
        # Whether a server refused it at once before: from then on it waits.
        self.waits = False
        self.asking: Optional[Node] = None
        self.sent = lease_clock()
        self.node: Optional[Node] = None
        self.channel: Optional[Channel] = None
        self.link: Optional[Link] = None
        # What the server last said against it.
        self.refusal: Optional[ReplyError] = None
        self.failure = ""


@dataclass
class Grant:
    fences: list[int]
    sent: float
    link: Optional[Link]
    node: Node


class Engine:
    def __init__(self, rt: Runtime, target: Target, options: Options) -> None:
        self.rt = rt
        self.options = options
        self.target = target
        # Nothing is acquired any more; then, no command is sent any more.
        self.ending = False
        self.closed = False
        self.opened = 0
        # What runs in the background and must not be cut off at the end of the process.
        self.settling = 0
        self._nodes: dict[Endpoint, Node] = {}
        self._guard = threading.Lock()
        self._gates: dict[Any, tuple[Mutex, int]] = {}
        # Owners that are still being withdrawn from a lock, with how often.
        self._withdrawn: dict[tuple[str, Key], int] = {}
        # The connections of waits, so that closing ends them.
        self._waiting: dict[Link, tuple[Node, Request]] = {}
        self.keeper = Keeper(self)
        self.router = self._router(target)

    # Acquiring.

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

    # Giving back.

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

    # Other commands.

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

    async def execute(
        self, slot: int, command: Command, timeout: float, count: Optional[list[int]] = None
    ) -> Any:
        """One command that may be sent twice. Raises Unreachable, or what the server said."""
        self._check_open()
        deadline = self.rt.now() + timeout
        backoff = self._backoff()
        asking: Optional[Node] = None
        trouble = "no answer"
        refusal: Optional[ReplyError] = None
        while True:
            try:
                node = asking or await self.router.node(slot)
                channel = await self._channel(node)
                commands = [("ASKING",), command] if asking else [command]
                asking = None
                if count is not None:
                    count[0] += 1
                pending = channel.post(commands)
                left = max(0.0, deadline - self.rt.now())
                reply = (await self.replies(node, channel, pending, slot, left))[-1]
            except LinkError as error:
                if isinstance(error, Refused) and error.is_final:
                    raise from_server(error.text) from None
                trouble = str(error)
                asking, refusal = None, None
            else:
                if not isinstance(reply, ReplyError):
                    return reply
                if reply.code not in PASSING:
                    raise from_server(reply.text)
                refusal = reply
                asking = await self.redirect(node, reply)
            left = deadline - self.rt.now()
            if left <= 0:
                if refusal is not None:
                    raise from_server(refusal.text)
                raise Unreachable(trouble)
            if asking is None and (refusal is None or refusal.code != "MOVED"):
                await self.rt.sleep(min(left, backoff.pause()))

    async def ask_node(self, node: Node, command: Command) -> Any:
        try:
            channel = await node.channel()
            pending = channel.post([command])
            [reply] = await self.replies(
                node, channel, pending, -1, 5 * self.options.request_timeout
            )
        except LinkError as error:
            raise Unreachable(str(error)) from error
        if isinstance(reply, ReplyError):
            raise from_server(reply.text)
        return reply

    async def primaries(self) -> list[Node]:
        try:
            return await self.router.primaries()
        except LinkError as error:
            raise Unreachable(str(error)) from error

    # Servers.

    async def replies(
        self,
        node: Node,
        channel: Channel,
        pending: Pending,
        slot: int,
        timeout: float,
        attempt: Optional[Attempt] = None,
    ) -> list[Any]:
        """The replies to a batch. A time-out alone drops no connection: `Late` leaves it to the
        channel to take what comes. Only if the server answers elsewhere is this one given up."""
        deadline = self.rt.now() + timeout
        looked = self.rt.now()
        while True:
            left = min(deadline, looked + self.options.request_timeout) - self.rt.now()
            if await pending.wait(self._slice(max(0.0, left), attempt)):
                return pending.result()
            if self.closed:
                raise LinkError("the client was closed")
            self._check_cancelled(attempt)
            if self.rt.now() < deadline:
                if self.rt.now() >= looked + self.options.request_timeout:
                    await self._examine(node, channel, slot)
                    if channel is not node.peek() and not pending.done:
                        raise LinkError(f"{node.endpoint} does not answer on this connection")
                    looked = self.rt.now()
            elif not pending.done:
                if not node.examined:
                    node.examined = True
                    self.rt.spawn(self._examine_later(node, channel, slot), "probe")
                raise Late(f"{node.endpoint} did not answer in {timeout:.3g} s")

    async def _examine(self, node: Node, channel: Channel, slot: int) -> None:
        """Closes a connection that has no future, so that what waits for it goes elsewhere."""
        if await node.is_alive():
            if not channel.closed and await self._is_deaf(channel):
                node.retire(channel)
        elif await self.router.is_elsewhere(node, slot):
            channel.close(f"{node.endpoint} is not the primary any more")

    async def _examine_later(self, node: Node, channel: Channel, slot: int) -> None:
        try:
            await self._examine(node, channel, slot)
        except LinkError:
            logger.debug("probing %s failed", node.endpoint, exc_info=True)
        finally:
            node.examined = False

    async def _is_deaf(self, channel: Channel) -> bool:
        """Whether the channel gets no answer although the server is fine."""
        try:
            ping = channel.post([("PING",)])
        except LinkError:
            return False
        return not await ping.wait(self.options.request_timeout)

    async def _is_gone(self, node: Node, slot: int) -> bool:
        """Whether a wait at this server has no future."""
        if node.gone:
            return True
        alive = await node.is_alive()
        if alive and self.target.kind != "sentinel":
            return False
        return await self.router.is_elsewhere(node, slot)

    async def redirect(self, node: Node, error: ReplyError) -> Optional[Node]:
        """Learns from MOVED and READONLY. For ASK: the node to ask, this once."""
        where = error.redirection()
        if where is None:
            if error.code in ("READONLY", "UNBLOCKED", "CLUSTERDOWN", "MASTERDOWN", "LOADING"):
                self.router.doubt(node)
            return None
        host, port, slot = where
        endpoint = Endpoint(host or node.endpoint.host, port)
        if isinstance(self.router, ClusterRouter):
            endpoint = self.router.translate(host, port, node.endpoint)
        other = self.node_at(endpoint)
        if error.code == "ASK":
            return other
        self.router.moved(slot, other)
        return None

    async def _channel(self, node: Node) -> Channel:
        try:
            return await node.channel()
        except LinkError:
            self.router.doubt(node)
            raise

    def node_at(self, endpoint: Endpoint) -> Node:
        node = self._nodes.get(endpoint)
        if node is None or node.gone:
            node = self._nodes[endpoint] = Node(
                self.rt, endpoint, self.options, self.keeper.dirty, self.keeper.lost, self._count
            )
        return node

    def is_known_at(self, node: Node, slot: int) -> bool:
        return self.router.known(slot) is node

    def slot(self, key: Key) -> int:
        return key_slot(key) if self.target.kind == "cluster" else -1

    def links(self) -> list[Link]:
        return [link for node in self._nodes.values() for link in node.links()]

    # The end.

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

    def abort(self) -> None:
        self.ending = self.closed = True
        self.keeper.close()
        self.router.close()
        for link in list(self._waiting):
            link.close()
        for node in list(self._nodes.values()):
            node.close()

    # Small things.

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

    def renewed(self, hold: HoldState) -> None:
        self._tell(lambda h: h.renewed(hold.request.name, hold.request.owner))

    def _tell(self, tell: Callable[[Hooks], None]) -> None:
        for hook in self.options.hooks:
            try:
                tell(hook)
            except Exception:
                logger.exception("a hook failed")

    def _backoff(self) -> Backoff:
        return Backoff()

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

    def _slice(self, seconds: float, attempt: Optional[Attempt]) -> float:
        """A wait that another thread may cancel looks up often."""
        if attempt is None or attempt.cancelled is None:
            return seconds
        return min(seconds, CANCEL_EVERY)

    def _check_cancelled(self, attempt: Optional[Attempt]) -> None:
        if attempt is not None and self.ending:
            raise ClientClosed("the client was closed")
        if attempt is not None and attempt.cancelled is not None and attempt.cancelled():
            raise Cancelled("the acquisition was cancelled")

    def _check_open(self) -> None:
        if self.closed:
            raise ClientClosed("the client is closed")

    def _count(self) -> None:
        self.opened += 1

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

    def _router(self, target: Target) -> Router:
        if target.kind == "sentinel":
            return SentinelRouter(
                self.rt,
                self.options,
                target.service,
                len(target.endpoints),
                self.node_at,
                self._drop,
            )
        if target.kind == "cluster":
            return ClusterRouter(
                self.rt, self.options, target.endpoints, self.node_at, target.remap
            )
        return SingleRouter(self.node_at(target.endpoints[0]))

    def _drop(self, node: Node) -> None:
        node.close()
        self._nodes.pop(node.endpoint, None)
