"""The servers: their connections, and which of them is the primary for a key."""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass
from typing import Any, Callable, Optional, Protocol

from ._core import LinkError, ReplyError
from ._dial import Endpoint
from ._io import NOTHING, Channel, Link, Pending, Runtime
from .hooks import Hooks

INVALIDATIONS = "__redis__:invalidate"
SLOTS = 16384


@dataclass
class Options:
    """Times are in seconds."""

    request_timeout: float = 1.0
    probe_interval: float = 2.0
    idle_links: int = 8
    tracking: bool = True
    share_waits: bool = False
    hooks: tuple[Hooks, ...] = ()


class Node:
    """One server: a connection for all commands, one to look after it, and one for each wait."""

    def __init__(
        self,
        rt: Runtime,
        endpoint: Endpoint,
        options: Options,
        on_dirty: Callable[[Optional[bytes]], None],
        on_loss: Callable[[Node], None],
        count: Callable[[], None],
    ) -> None:
        self.endpoint = endpoint
        # Whether the server tells on the monitor when a lock changes that was looked at.
        self.tracking = False
        self.tracking_denied = False
        self.gone = False
        # Whether somebody finds out in the background why it does not answer.
        self.examined = False
        # What the keeper has to do here, and whether somebody is at it.
        self.work: list[Any] = []
        self.working = False
        self._rt = rt
        self._options = options
        self._on_dirty = on_dirty
        self._on_loss = on_loss
        self._count = count
        self._channel: Optional[Channel] = None
        self._channel_mutex = rt.mutex()
        self._monitor: Optional[Channel] = None
        self._monitor_id = 0
        self._monitor_mutex = rt.mutex()
        self._retired: list[Channel] = []
        self._idle: deque[Link] = deque()
        self._failed_at = -1.0
        self._failure = LinkError("")
        self._ping: Optional[Pending] = None
        self._ping_at = 0.0
        self._probed_at = -1e9
        self._verdict = False

    async def channel(self) -> Channel:
        """The connection for all commands. One attempt to connect serves all who want it."""
        channel = self._channel
        if channel is not None and not channel.closed:
            return channel
        began = self._rt.now()
        if not await self._channel_mutex.acquire(2 * self._options.request_timeout):
            raise LinkError(f"no connection to {self.endpoint} in time")
        try:
            channel = self._channel
            if channel is not None and not channel.closed:
                return channel
            if self._failed_at >= began:
                raise self._failure
            try:
                link = await self.open()
            except LinkError as error:
                self._failed_at = self._rt.now()
                self._failure = error
                raise
            self.tracking = False
            self._channel = channel = self._rt.channel(link, self._pushed)
            return channel
        finally:
            self._channel_mutex.release()

    def peek(self) -> Optional[Channel]:
        """The connection for all commands, if it is open."""
        channel = self._channel
        return channel if channel is not None and not channel.closed else None

    def retire(self, channel: Channel) -> None:
        """The connection gets no answers: the next command makes another. This one is read on, as
        what was sent over it may still arrive, and what is sent behind it then does so too."""
        if channel is self._channel:
            self._channel = None
            self.tracking = False
        channel.retire()
        self._retired = [c for c in self._retired if not c.closed]
        if channel not in self._retired:
            self._retired.append(channel)
            self._on_loss(self)

    async def open(self) -> Link:
        """A new connection."""
        if self.gone:
            raise LinkError(f"{self.endpoint} is not used any more")
        self._count()
        return await self._rt.connect(self.endpoint, self._options.request_timeout)

    async def borrow(self) -> Link:
        """A connection of one's own: an idle one, or a new one."""
        while self._idle:
            try:
                link = self._idle.pop()
            except IndexError:
                break
            if link.closed:
                continue
            # It may have been closed from the other side while it was idle.
            try:
                if await link.recv(0) is NOTHING:
                    return link
            except LinkError:
                continue
            link.close()
        return await self.open()

    def give_back(self, link: Link) -> None:
        if link.closed or self.gone or link.owed or len(self._idle) >= self._options.idle_links:
            link.close()
        else:
            self._idle.append(link)

    async def is_alive(self) -> bool:
        """Whether the server answers on another connection. One probe serves all who ask."""
        interval = self._options.probe_interval
        if self._rt.now() - self._probed_at < interval / 2:
            return self._verdict
        if not await self._monitor_mutex.acquire(2 * self._options.request_timeout):
            return self._verdict
        try:
            if self._rt.now() - self._probed_at < interval / 2:
                return self._verdict
            self._verdict = await self._answers()
            self._probed_at = self._rt.now()
            return self._verdict
        finally:
            self._monitor_mutex.release()

    async def track(self) -> bool:
        """Asks to be told of changes. False if the server or its rights do not allow it."""
        if self.tracking_denied:
            return False
        channel = await self.channel()
        if not await self._monitor_mutex.acquire(2 * self._options.request_timeout):
            raise LinkError("no connection in time")
        try:
            await self._watch()
            if self._monitor_id == 0:
                self.tracking_denied = True
                return False
            pending = channel.post([("CLIENT", "TRACKING", "ON", "REDIRECT", self._monitor_id)])
            if not await pending.wait(self._options.request_timeout):
                raise LinkError("no answer to CLIENT TRACKING")
            if isinstance(pending.result()[0], ReplyError):
                self.tracking_denied = True
                return False
            self.tracking = not channel.closed
            return self.tracking
        finally:
            self._monitor_mutex.release()

    def close(self) -> None:
        self.gone = True
        for channel in (self._channel, self._monitor, *self._retired):
            if channel is not None:
                channel.close("the client was closed, or the server is not used any more")
        while self._idle:
            self._idle.pop().close()

    def links(self) -> list[Link]:
        """All that is open here and not lent out."""
        every = (self._channel, self._monitor, *self._retired)
        channels = [c.link for c in every if c is not None]
        return channels + list(self._idle)

    async def _answers(self) -> bool:
        timeout = self._options.request_timeout
        try:
            monitor = await self._watch()
            if self._ping is None or (self._ping.done and self._ping.error is not None):
                self._ping = monitor.post([("PING",)])
                self._ping_at = self._rt.now()
            if await self._ping.wait(timeout):
                self._ping.result()
                self._ping = None
                return True
        except LinkError:
            self._ping = None
            return False
        if self._rt.now() - self._ping_at > 5 * timeout and self._monitor is not None:
            # Perhaps only this connection is dead: the next probe makes another.
            self._monitor.close("it did not answer")
            self._ping = None
        return False

    async def _watch(self) -> Channel:
        if self._monitor is not None and not self._monitor.closed:
            return self._monitor
        self._ping = None
        self._monitor_id = 0
        link = await self.open()
        monitor = self._rt.channel(link, self._pushed)
        try:
            pending = monitor.post([("CLIENT", "ID"), ("SUBSCRIBE", INVALIDATIONS)])
            if not await pending.wait(self._options.request_timeout):
                raise LinkError(f"{self.endpoint} did not answer in time")
            identity, subscribed = pending.result()
        except BaseException:
            monitor.close("it did not answer")
            raise
        if isinstance(identity, int) and isinstance(subscribed, list):
            self._monitor_id = identity
        self._monitor = monitor
        return monitor

    def _pushed(self, keys: Any) -> None:
        if keys is NOTHING:
            self.tracking = False
            self._on_loss(self)
        elif keys is None:
            self._on_dirty(None)
        elif isinstance(keys, list):
            for key in keys:
                self._on_dirty(key)


class Router(Protocol):
    """Knows the primary of each slot. Slot -1 stands for any."""

    async def node(self, slot: int) -> Node:
        """The primary. Asks for it if need be; LinkError if nobody knows."""

    def known(self, slot: int) -> Optional[Node]:
        """The primary as far as it is known without asking."""

    async def is_elsewhere(self, node: Node, slot: int) -> bool:
        """Asks others whether the primary of the slot is another one by now."""

    def doubt(self, node: Node) -> None:
        """The node failed, or said that it is not the primary."""

    def moved(self, slot: int, node: Node) -> None: ...
    async def primaries(self) -> list[Node]: ...
    def close(self) -> None: ...


class SingleRouter:
    def __init__(self, node: Node) -> None:
        self._node = node

    async def node(self, slot: int) -> Node:
        return self._node

    def known(self, slot: int) -> Optional[Node]:
        return self._node

    async def is_elsewhere(self, node: Node, slot: int) -> bool:
        return False

    def doubt(self, node: Node) -> None:
        pass

    def moved(self, slot: int, node: Node) -> None:
        pass

    async def primaries(self) -> list[Node]:
        return [self._node]

    def close(self) -> None:
        pass


class _Refreshed:
    """Asks for the map seldom, and once for all who want it."""

    def __init__(self, rt: Runtime, options: Options) -> None:
        self._rt = rt
        self._options = options
        self._mutex = rt.mutex()
        self._asked_at = -1e9
        self._doubtful = True

    async def _refresh(self, oldest: float, avoid: Optional[Node]) -> None:
        """Asks, unless an answer is younger than `oldest` seconds."""
        if self._rt.now() - self._asked_at < oldest:
            return
        # Room for each Sentinel or node to be silent for a time-out.
        if not await self._mutex.acquire(5 * self._options.request_timeout):
            return
        try:
            if self._rt.now() - self._asked_at >= oldest:
                try:
                    await self._ask(avoid)
                finally:
                    self._asked_at = self._rt.now()
        finally:
            self._mutex.release()

    async def _ask(self, avoid: Optional[Node]) -> None:
        raise NotImplementedError


class SentinelRouter(_Refreshed):
    def __init__(
        self,
        rt: Runtime,
        options: Options,
        service: str,
        sentinels: int,
        node_at: Callable[[Endpoint], Node],
        drop: Callable[[Node], None],
    ) -> None:
        super().__init__(rt, options)
        self._service = service
        self._sentinels = list(range(sentinels))
        self._node_at = node_at
        self._drop = drop
        self._node: Optional[Node] = None
        self._channel: Optional[Channel] = None

    async def node(self, slot: int) -> Node:
        if self._node is None or self._doubtful:
            await self._refresh(random.uniform(0.1, 0.2) if self._node else 0.02, None)
        if self._node is None:
            raise LinkError(f"no Sentinel knows the primary of {self._service}")
        return self._node

    def known(self, slot: int) -> Optional[Node]:
        return self._node

    async def is_elsewhere(self, node: Node, slot: int) -> bool:
        await self._refresh(self._options.probe_interval / 2, None)
        return self._node is not node and self._node is not None

    def doubt(self, node: Node) -> None:
        if node is self._node:
            self._doubtful = True

    def moved(self, slot: int, node: Node) -> None:
        pass

    async def primaries(self) -> list[Node]:
        return [await self.node(-1)]

    def close(self) -> None:
        if self._channel is not None:
            self._channel.close("the client was closed")

    async def _ask(self, avoid: Optional[Node]) -> None:
        question = ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._service)
        for _ in range(len(self._sentinels)):
            try:
                if self._channel is None or self._channel.closed:
                    link = await self._rt.connect_sentinel(
                        self._sentinels[0], self._options.request_timeout
                    )
                    self._channel = self._rt.channel(link, None)
                pending = self._channel.post([question])
                if not await pending.wait(self._options.request_timeout):
                    raise LinkError("no answer")
                [answer] = pending.result()
                if isinstance(answer, list) and len(answer) == 2:
                    self._found(Endpoint(answer[0].decode(), int(answer[1])))
                    return
            except LinkError:
                pass
            if self._channel is not None:
                self._channel.close("it did not know the primary")
            self._channel = None
            self._sentinels.append(self._sentinels.pop(0))

    def _found(self, endpoint: Endpoint) -> None:
        self._doubtful = False
        node = self._node_at(endpoint)
        if self._node is not None and self._node is not node:
            self._drop(self._node)
        self._node = node


class ClusterRouter(_Refreshed):
    def __init__(
        self,
        rt: Runtime,
        options: Options,
        seeds: list[Endpoint],
        node_at: Callable[[Endpoint], Node],
        remap: Any,
    ) -> None:
        super().__init__(rt, options)
        self._seeds = seeds
        self._node_at = node_at
        self._remap = remap
        self._owners: list[Optional[Node]] = [None] * SLOTS
        self._doubted: set[Endpoint] = set()
        self._known = False

    async def node(self, slot: int) -> Node:
        if not self._known:
            await self._refresh(0.02, None)
        elif self._doubtful:
            await self._refresh(random.uniform(0.1, 0.3), None)
        node = self._owners[max(0, slot)]
        if node is None:
            self._doubtful = True
            raise LinkError(f"no node of the cluster is known to serve slot {slot}")
        return node

    def known(self, slot: int) -> Optional[Node]:
        return self._owners[max(0, slot)]

    async def is_elsewhere(self, node: Node, slot: int) -> bool:
        self._doubted.add(node.endpoint)
        await self._refresh(self._options.probe_interval / 2, node)
        return self._owners[max(0, slot)] is not node

    def doubt(self, node: Node) -> None:
        self._doubtful = True
        self._doubted.add(node.endpoint)

    def moved(self, slot: int, node: Node) -> None:
        self._owners[slot] = node
        self._doubtful = True

    async def primaries(self) -> list[Node]:
        await self.node(-1)
        return list(dict.fromkeys(node for node in self._owners if node is not None))

    def close(self) -> None:
        pass

    async def _ask(self, avoid: Optional[Node]) -> None:
        known = [node.endpoint for node in dict.fromkeys(self._owners) if node is not None]
        random.shuffle(known)
        candidates = list(dict.fromkeys(known + self._seeds))
        candidates.sort(key=lambda e: e in self._doubted)
        for endpoint in candidates:
            node = self._node_at(endpoint)
            if node is avoid:
                continue
            try:
                channel = await node.channel()
                pending = channel.post([("CLUSTER", "SLOTS")])
                if not await pending.wait(self._options.request_timeout):
                    raise LinkError("no answer")
                [answer] = pending.result()
                if isinstance(answer, list) and answer:
                    self._learn(answer, endpoint)
                    return
            except LinkError:
                self._doubted.add(endpoint)

    def _learn(self, answer: list[Any], asked: Endpoint) -> None:
        owners: list[Optional[Node]] = [None] * SLOTS
        seeds: list[Endpoint] = []
        for first, last, primary, *replicas in answer:
            for host, port, *_ in replicas:
                seeds.append(self.translate(host, port, asked))
            node = self._node_at(self.translate(primary[0], primary[1], asked))
            owners[first : last + 1] = [node] * (last + 1 - first)
        self._owners = owners
        self._seeds = list(dict.fromkeys(seeds + self._seeds))
        self._doubted.clear()
        self._doubtful = False
        self._known = True

    def translate(self, host: Any, port: int, asked: Endpoint) -> Endpoint:
        name = host.decode() if isinstance(host, bytes) else (host or "")
        address = (name if name not in ("", "?") else asked.host, int(port))
        if self._remap is not None:
            address = self._remap(address)
        return Endpoint(*address)
