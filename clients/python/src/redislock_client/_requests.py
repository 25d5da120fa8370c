"""Commands that may be sent twice, and the servers they go to."""

from __future__ import annotations

import logging
import threading
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
from ._io import Channel, Link, Mutex, Pending, Runtime
from ._keeper import Keeper
from ._nodes import ClusterRouter, Node, Options, Router, SentinelRouter, SingleRouter
from .errors import (
    Cancelled,
    ClientClosed,
    Unreachable,
    from_server,
)
from .hooks import Hooks

logger = logging.getLogger("redislock_client")

# How soon a wait notices, in seconds, that another thread cancelled it.
CANCEL_EVERY = 0.01


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


class Requests:
    """Sends commands to whichever server is the primary, and looks after connections."""

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

    def _tell(self, tell: Callable[[Hooks], None]) -> None:
        for hook in self.options.hooks:
            try:
                tell(hook)
            except Exception:
                logger.exception("a hook failed")

    def _backoff(self) -> Backoff:
        return Backoff()

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

    def lost(self, hold: HoldState) -> None:
        """The hold ended, and its owner did not end it."""
        raise NotImplementedError

    def renewed(self, hold: HoldState) -> None:
        self._tell(lambda h: h.renewed(hold.request.name, hold.request.owner))
