"""Renews all holds, notices their loss, and watches locks for observers. One loop serves all.

The loop sleeps until something is due, and never waits for a server itself. What is due at a
server is done by one worker for that server, in one batch: a server that is slow keeps nobody else
waiting, and however many holds there are, it gets one question at a time.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import random
import threading
from collections import defaultdict
from typing import Any, Callable, Optional, Protocol

from ._core import (
    PASSING,
    Backoff,
    Command,
    Key,
    LinkError,
    ReplyError,
    as_bytes,
    decode_info,
    key_slot,
    lease_clock,
    server_text,
)
from ._hold import HoldState
from ._io import Channel, Pending, Runtime
from ._nodes import Node, Options, Router

logger = logging.getLogger("redislock_client")

# A hold that is over sooner is not worth a subscription.
TRACK_AFTER = 0.03
# A lock that changes all the time is looked at this often.
CHECK_EVERY = 0.04
# The loop ends after this time without a hold, and begins anew with the next.
IDLE = 2.0
# An observer looks again after this time, also if it was told of nothing.
OBSERVE_AGAIN = 15.0
OBSERVE_UNTRACKED = 1.0


class Watch:
    """An observer of one lock. It calls back with what LOCK.INFO says."""

    def __init__(self, key: Key, callback: Callable[[Any], None]) -> None:
        self.key = key
        self.slot = -1
        self.callback = callback
        self.ended = False


# What a worker does: renew or check a hold, or look at a watch.
Job = tuple[str, Any]


class Engine(Protocol):
    """What the keeper needs of the engine that it belongs to."""

    rt: Runtime
    options: Options
    router: Router

    def lost(self, hold: HoldState) -> None: ...
    def renewed(self, hold: HoldState) -> None: ...
    def is_known_at(self, node: Node, slot: int) -> bool: ...
    async def redirect(self, node: Node, error: ReplyError) -> Optional[Node]: ...
    async def replies(
        self, node: Node, channel: Channel, pending: Pending, slot: int, timeout: float
    ) -> list[Any]: ...


class Keeper:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._rt = engine.rt
        self._guard = threading.Lock()
        self._wake = self._rt.event()
        self._running = False
        self._closed = False
        self._order = itertools.count()
        self._heap: list[tuple[float, int, str, Any]] = []
        self._due_first = float("inf")
        self._by_key: dict[bytes, set[Any]] = defaultdict(set)
        self._dirty: dict[bytes, float] = {}
        self._lost_nodes: set[Node] = set()
        self.holds: set[HoldState] = set()
        self.watches: set[Watch] = set()

    def add(self, hold: HoldState) -> None:
        now = lease_clock()
        with self._guard:
            self.holds.add(hold)
            for key in hold.request.keys:
                self._by_key[as_bytes(key)].add(hold)
            # Most holds are over before that, and cost nothing more.
            self._push(now + min(TRACK_AFTER, hold.lease_ms / 6000), "enlist", hold)
        self._start()

    def remove(self, hold: HoldState) -> None:
        with self._guard:
            self.holds.discard(hold)
            for key in hold.request.keys:
                self._drop(as_bytes(key), hold)

    def watch(self, watch: Watch) -> None:
        with self._guard:
            self.watches.add(watch)
            self._by_key[as_bytes(watch.key)].add(watch)
            self._push(lease_clock(), "look", watch)
        self._start()

    def unwatch(self, watch: Watch) -> None:
        watch.ended = True
        with self._guard:
            self.watches.discard(watch)
            self._drop(as_bytes(watch.key), watch)

    def dirty(self, key: Optional[bytes]) -> None:
        """The server says that the lock changed; None: any of them may have."""
        with self._guard:
            keys = list(self._by_key) if key is None else [key]
            now = lease_clock()
            for each in keys:
                items = self._by_key.get(each)
                if not items or self._dirty.get(each, 0.0) > now:
                    continue
                # Each release of a semaphore makes all its holders look, so not each time.
                self._dirty[each] = due = now if len(items) == 1 else now + CHECK_EVERY
                for item in items:
                    self._push(due, "look" if isinstance(item, Watch) else "check", item)
        self._poke()

    def lost(self, node: Node) -> None:
        """The connection that tells of changes is lost."""
        with self._guard:
            if self._closed or not (self.holds or self.watches):
                return
            self._lost_nodes.add(node)
        self._start()

    def moved(self, hold: HoldState, lease_changed: bool) -> None:
        """Its lease was changed by its user: see anew when to renew it."""
        with self._guard:
            self._push(hold.until, "expire", hold)
            if hold.renew and lease_changed:
                self._push(lease_clock() + self._third(hold), "renew", hold)
        self._poke()

    def close(self) -> None:
        self._closed = True
        self._wake.set()

    # The loop.

    def _start(self) -> None:
        with self._guard:
            start = not self._running and not self._closed
            if start:
                self._running = True
        if start:
            self._rt.spawn(self._run(), "keeper")
        else:
            self._poke()

    def _poke(self) -> None:
        if (self._heap and self._heap[0][0] < self._due_first) or self._lost_nodes:
            self._wake.set()

    async def _run(self) -> None:
        idle_since = lease_clock()
        while not self._closed:
            now = lease_clock()
            work, nodes = self._take(now)
            for hold in work.pop("expire", ()):
                self._expire(hold, now)
            for kind, items in work.items():
                for item in items:
                    self._assign((kind, item))
            for node in nodes:
                self._put(node, ("track", node))
            with self._guard:
                if self.holds or self.watches:
                    idle_since = now
                elif now - idle_since > IDLE:
                    self._running = False
                    return
                self._due_first = self._heap[0][0] if self._heap else now + IDLE
                pause = min(self._due_first - lease_clock(), IDLE)
            if pause > 0:
                await self._wake.wait(pause)
            self._wake.clear()
        self._running = False

    def _take(self, now: float) -> tuple[dict[str, dict[Any, None]], set[Node]]:
        work: dict[str, dict[Any, None]] = {}
        with self._guard:
            self._due_first = float("-inf")
            while self._heap and self._heap[0][0] <= now:
                _, _, kind, item = heapq.heappop(self._heap)
                if kind == "look":
                    if not item.ended:
                        work.setdefault(kind, {})[item] = None
                elif item.state != "held" or (kind == "renew" and not item.renew):
                    continue
                elif kind == "enlist":
                    self._push(item.until, "expire", item)
                    if item.renewable:
                        self._push(now + self._third(item) - TRACK_AFTER, "renew", item)
                    if self._engine.options.tracking:
                        work.setdefault("check", {})[item] = None
                else:
                    work.setdefault(kind, {})[item] = None
            nodes, self._lost_nodes = self._lost_nodes, set()
            if self._dirty:
                self._dirty = {k: at for k, at in self._dirty.items() if at > now}
        return work, nodes

    def _expire(self, hold: HoldState, now: float) -> None:
        if hold.until > now:
            with self._guard:
                self._push(hold.until, "expire", hold)
            return
        reason = "max" if hold.is_bounded else "denied" if hold.refusal else "expired"
        self.lose(hold, reason)

    def lose(self, hold: HoldState, reason: str) -> None:
        self.remove(hold)
        if hold.lose(reason):
            self._engine.lost(hold)
            hold.tell()

    def _assign(self, job: Job) -> None:
        node = self._engine.router.known(job[1].slot)
        if node is not None:
            self._put(node, job)
        else:
            self._rt.spawn(self._locate(job), "map")

    async def _locate(self, job: Job) -> None:
        kind, item = job
        try:
            self._put(await self._engine.router.node(item.slot), job)
        except LinkError:
            with self._guard:
                self._push(lease_clock() + random.uniform(0.1, 0.3), kind, item)
            self._start()

    def _put(self, node: Node, job: Job) -> None:
        with self._guard:
            node.work.append(job)
            start = not node.working
            node.working = True
        if start:
            self._rt.spawn(self._serve(node), "renewal")

    # One worker for each server.

    async def _serve(self, node: Node) -> None:
        backoff = Backoff()
        try:
            while True:
                with self._guard:
                    jobs: list[Job] = list(dict.fromkeys(node.work))
                    node.work.clear()
                    if not jobs or self._closed:
                        node.working = False
                        return
                try:
                    await self._do(node, jobs)
                    backoff = Backoff()
                except LinkError as error:
                    logger.debug("renewal at %s failed: %s", node.endpoint, error)
                    self._engine.router.doubt(node)
                    await self._rt.sleep(backoff.pause())
                    # Perhaps at another server by now.
                    for job in jobs:
                        await self._again(node, job)
        except BaseException:
            node.working = False
            raise

    async def _again(self, node: Node, job: Job) -> None:
        kind, item = job
        if kind == "track":
            if not node.gone and (self.holds or self.watches):
                self.lost(node)
        elif kind == "look" or item.state == "held":
            await self._locate(job)

    async def _do(self, node: Node, jobs: list[Job]) -> None:
        if self._engine.options.tracking and not node.tracking:
            try:
                tracked = await node.track()
            except LinkError:
                # Renewal must not wait for it.
                tracked = False
                with self._guard:
                    self._lost_nodes.add(node)
            if tracked:
                jobs = self._all_here(node, jobs)
        commands: list[Command] = []
        spans: list[tuple[Job, int, int, int]] = []
        for job in jobs:
            kind, item = job
            if kind == "track":
                continue
            first = len(commands)
            if kind == "look":
                commands.append(("LOCK.INFO", item.key))
            elif item.state != "held":
                continue
            elif kind == "renew":
                commands.append(item.request.extend(item.fence, item.lease_ms))
            else:
                commands += item.request.checks()
            version = 0 if kind == "look" else item.version
            spans.append((job, first, len(commands), version))
        if not commands:
            return
        sent = lease_clock()
        channel = await node.channel()
        pending = channel.post(commands)
        slot = spans[0][0][1].slot
        # Until the last of the holds is over. A server that stands still for a while loses none.
        ends = [j[1].remaining() for j, *_ in spans if j[0] != "look"]
        patience = max([self._engine.options.request_timeout, *ends])
        replies = await self._engine.replies(node, channel, pending, slot, patience)
        for job, first, last, version in spans:
            await self._learn(node, job, replies[first:last], sent, version)

    def _all_here(self, node: Node, jobs: list[Job]) -> list[Job]:
        """After a new subscription everything is looked at: changes may have been missed."""
        wanted = dict.fromkeys(jobs)
        with self._guard:
            for hold in self.holds:
                if self._engine.is_known_at(node, hold.slot):
                    wanted[("check", hold)] = None
            for watch in self.watches:
                if self._engine.is_known_at(node, watch.slot):
                    wanted[("look", watch)] = None
        return list(wanted)

    async def _learn(
        self, node: Node, job: Job, replies: list[Any], sent: float, version: int
    ) -> None:
        kind, item = job
        error = next((r for r in replies if isinstance(r, ReplyError)), None)
        if error is not None:
            await self._refused(node, job, error)
        elif kind == "look":
            self._looked(node, item, replies[0])
        elif kind == "renew":
            if replies[0] == len(item.request.keys):
                item.extended(sent, item.lease_ms)
                self._engine.renewed(item)
                with self._guard:
                    self._push(sent + self._third(item), "renew", item)
            elif item.state == "held":
                self.lose(item, "gone")
        else:
            self._checked(item, replies, sent, version)

    def _checked(self, hold: HoldState, replies: list[Any], sent: float, version: int) -> None:
        for reply, fence in zip(replies, hold.fences):
            if reply is None or reply[0] != fence:
                if hold.state == "held":
                    self.lose(hold, "gone")
                return
        hold.checked(sent, min(reply[1] for reply in replies) / 1000, version)

    def _looked(self, node: Node, watch: Watch, reply: Any) -> None:
        if watch.ended:
            return
        try:
            watch.callback(decode_info(reply))
        except Exception:
            logger.exception("the callback of an observer failed")
        with self._guard:
            again = OBSERVE_AGAIN if node.tracking else OBSERVE_UNTRACKED
            self._push(lease_clock() + again * random.uniform(0.9, 1.0), "look", watch)

    async def _refused(self, node: Node, job: Job, error: ReplyError) -> None:
        kind, item = job
        await self._engine.redirect(node, error)
        if error.code == "WRONGTYPE" and kind != "look":
            # Somebody put something else in its place.
            if item.state == "held":
                self.lose(item, "gone")
            return
        if error.code not in PASSING and kind == "renew":
            logger.warning("%s cannot be renewed: %s", item.request.name, server_text(error))
            item.refusal = error.text
        # It may pass. If it does not, the lease ends the hold.
        pause = random.uniform(0.1, 0.4)
        if error.code not in PASSING:
            pause = 2.0 if kind == "look" else max(pause, item.lease_ms / 6000)
        with self._guard:
            self._push(lease_clock() + pause, kind, item)

    # Under the guard.

    def _push(self, when: float, kind: str, item: Any) -> None:
        heapq.heappush(self._heap, (when, next(self._order), kind, item))

    def _drop(self, key: bytes, item: Any) -> None:
        there = self._by_key.get(key)
        if there is not None:
            there.discard(item)
            if not there:
                del self._by_key[key]

    @staticmethod
    def _third(hold: HoldState) -> float:
        return hold.lease_ms / 3000 * random.uniform(0.92, 1.0)


def slot_of(key: Key, kind: str) -> int:
    return key_slot(key) if kind == "cluster" else -1
