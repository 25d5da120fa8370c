"""The driver over asyncio: each request is a task."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from typing import Any

import common
import redis
import redis.asyncio
from common import Unsupported, Usage
from sync_driver import common_features

from redislock_client.aio import Locks
from redislock_client.fake import FakeServer


class Driver:
    def __init__(self, output: Any) -> None:
        self._output = output
        self._locks: dict[str, Locks] = {}
        self._scopes: dict[tuple[str, str], Any] = {}
        self._holds: dict[str, Any] = {}
        self._observers: list[Any] = []
        self._requests: dict[int, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def take(self, request: dict[str, Any]) -> None:
        task = asyncio.ensure_future(self.serve(request))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if request["do"] in ("acquire", "elect"):
            self._requests[request["id"]] = task

    async def serve(self, request: dict[str, Any]) -> None:
        identity = request["id"]
        try:
            method = getattr(self, "do_" + request["do"], None)
            if method is None:
                raise Unsupported(request["do"])
            self._output.answer(identity, (await method(request)) or {})
        except asyncio.CancelledError:
            self._output.refuse(identity, "cancelled", "the task was cancelled")
        except Exception as error:
            self._output.refuse(identity, common.kind_of(error), f"{type(error).__name__}: {error}")
        finally:
            self._requests.pop(identity, None)

    async def do_hello(self, request: dict[str, Any]) -> dict[str, Any]:
        library = f"redis-py {redis.__version__}"
        return {"client": "python-asyncio", "library": library, "features": common_features()}

    async def do_connect(self, request: dict[str, Any]) -> None:
        if request["deployment"] == "fake":
            fake = FakeServer().aio_locks(label=request.get("label"))
            self._locks[request.get("locks", "main")] = fake
            return
        client = common.client_of(request, redis.asyncio)
        self._locks[request.get("locks", "main")] = Locks(client, **common.client_options(request))

    async def do_owner(self, request: dict[str, Any]) -> dict[str, Any]:
        return {"owner": self._scope(request).id}

    async def do_acquire(self, request: dict[str, Any]) -> dict[str, Any]:
        name = request["hold"]
        lock = common.lock_of(self._factory(request), request, self._lost(name))
        hold = await lock.take()
        self._holds[name] = hold
        return common.granted(hold)

    async def do_cancel(self, request: dict[str, Any]) -> None:
        task = self._requests.get(request["request"])
        if task is not None:
            task.cancel()

    async def do_extend(self, request: dict[str, Any]) -> None:
        await self._hold(request).extend(request["lease_ms"] / 1000)

    async def do_downgrade(self, request: dict[str, Any]) -> None:
        await self._hold(request).downgrade()

    async def do_release(self, request: dict[str, Any]) -> None:
        hold = self._holds.pop(request["hold"], None)
        if hold is None:
            raise Usage(f"no hold {request['hold']}")
        await hold.release(cool=common.seconds(request, "cool_ms"))

    async def do_held(self, request: dict[str, Any]) -> dict[str, Any]:
        return {"held": self._hold(request).held}

    async def do_check(self, request: dict[str, Any]) -> dict[str, Any]:
        return {"held": await self._hold(request).check() is not None}

    async def do_elect(self, request: dict[str, Any]) -> dict[str, Any]:
        name = request["leader"]
        leader = self._client(request).leader(
            request["key"],
            lease=(request.get("lease_ms") or 10_000) / 1000,
            session=bool(request.get("session")),
            on_lost=self._lost(name),
        )
        self._holds[name] = hold = await leader.elect()
        return common.granted(hold)

    async def do_resign(self, request: dict[str, Any]) -> None:
        await self._holds.pop(request["leader"]).release()

    async def do_observe(self, request: dict[str, Any]) -> dict[str, Any]:
        name = request["observer"]
        told = []

        def tell(owner: Any) -> None:
            if told:
                self._output.write({"event": "leader", "observer": name, "owner": owner})
            told.append(owner)

        observation = self._client(request).leader(request["key"]).observe(tell)
        self._observers.append(observation)
        return {"owner": await observation.leader()}

    async def do_info(self, request: dict[str, Any]) -> dict[str, Any]:
        return common.described(await self._client(request).info(request["key"]))

    async def do_block(self, request: dict[str, Any]) -> None:
        time.sleep(request["for_ms"] / 1000)  # noqa: ASYNC251 It is to block the loop.

    async def do_fork(self, request: dict[str, Any]) -> None:
        child = os.fork()
        if child == 0:
            # As multiprocessing does: a new event loop that knows nothing of the old one.
            code = 3
            try:
                asyncio.events._set_running_loop(None)
                asyncio.set_event_loop(None)
                code = asyncio.new_event_loop().run_until_complete(self._leave_all())
            finally:
                os._exit(code)
        _, status = os.waitpid(child, 0)  # noqa: ASYNC222
        if status:
            raise RuntimeError(f"the child ended with {status}")

    async def _leave_all(self) -> int:
        code = 0
        for hold in list(self._holds.values()):
            try:
                async with hold:
                    if hold.held:
                        code = 1
            except BaseException:
                code = 2
        return code

    async def do_stats(self, request: dict[str, Any]) -> dict[str, Any]:
        return {"connections_opened": self._client(request).connections_opened}

    async def do_close(self, request: dict[str, Any]) -> None:
        for observation in self._observers:
            observation.close()
        await self._client(request).close()

    async def close(self) -> None:
        for locks in self._locks.values():
            await locks.close()

    def _client(self, request: dict[str, Any]) -> Locks:
        name = request.get("locks", "main")
        if name not in self._locks:
            raise Usage(f"{name} is not connected")
        return self._locks[name]

    def _scope(self, request: dict[str, Any]) -> Any:
        where = (request.get("locks", "main"), request["scope"])
        if where not in self._scopes:
            self._scopes[where] = self._client(request).owner()
        return self._scopes[where]

    def _factory(self, request: dict[str, Any]) -> Any:
        if request.get("scope"):
            return self._scope(request)
        if request.get("reentrant"):
            return self._scope(request | {"scope": "*reentrant*"})
        return self._client(request)

    def _hold(self, request: dict[str, Any]) -> Any:
        hold = self._holds.get(request["hold"])
        if hold is None:
            raise Usage(f"no hold {request['hold']}")
        return hold

    def _lost(self, name: str) -> Any:
        def tell(hold: Any) -> None:
            if hold.lost_reason != "closed":
                event = {"event": "lost", "hold": name, "reason": hold.lost_reason}
                self._output.write(event)

        return tell


async def serve(output: Any) -> None:
    driver = Driver(output)
    reader = asyncio.StreamReader(limit=2**24)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        if line.strip():
            driver.take(json.loads(line))
    await driver.close()


def run(output: Any) -> None:
    asyncio.run(serve(output))
