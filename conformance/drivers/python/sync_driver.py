"""The driver over threads: each request has one."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from typing import Any

import common
import redis
from common import Unsupported, Usage

from redislock_client import Cancellation, Locks
from redislock_client.errors import Cancelled, ClientClosed
from redislock_client.fake import FakeServer


class Driver:
    def __init__(self, output: Any) -> None:
        self._output = output
        self._locks: dict[str, Locks] = {}
        self._scopes: dict[tuple[str, str], Any] = {}
        self._holds: dict[str, Any] = {}
        self._observers: list[Any] = []
        self._requests: dict[int, Cancellation] = {}
        self._guard = threading.Lock()

    def take(self, request: dict[str, Any]) -> None:
        """Called in the order of the requests; what takes time gets a thread."""
        if request["do"] in ("acquire", "elect"):
            with self._guard:
                self._requests[request["id"]] = Cancellation()
        if request["do"] == "held":
            # A question that stands right behind `block` is answered by whoever comes first.
            self.serve(request)
        else:
            threading.Thread(target=self.serve, args=(request,), daemon=True).start()

    def serve(self, request: dict[str, Any]) -> None:
        identity = request["id"]
        try:
            method = getattr(self, "do_" + request["do"], None)
            if method is None:
                raise Unsupported(request["do"])
            self._output.answer(identity, method(request) or {})
        except Exception as error:
            self._output.refuse(identity, common.kind_of(error), f"{type(error).__name__}: {error}")

    def do_hello(self, request: dict[str, Any]) -> dict[str, Any]:
        library = f"redis-py {redis.__version__}"
        return {"client": "python", "library": library, "features": common_features()}

    def do_connect(self, request: dict[str, Any]) -> None:
        if request["deployment"] == "fake":
            fake = FakeServer().locks(label=request.get("label"))
            self._locks[request.get("locks", "main")] = fake
            return
        client = common.client_of(request, redis)
        self._locks[request.get("locks", "main")] = Locks(client, **common.client_options(request))

    def do_owner(self, request: dict[str, Any]) -> dict[str, Any]:
        return {"owner": self._scope(request).id}

    def do_acquire(self, request: dict[str, Any]) -> dict[str, Any]:
        name = request["hold"]
        lock = common.lock_of(self._factory(request), request, self._lost(name))
        hold = self._run(request, lambda cancel: lock.take(cancel=cancel))
        self._holds[name] = hold
        return common.granted(hold)

    def do_cancel(self, request: dict[str, Any]) -> None:
        with self._guard:
            cancellation = self._requests.get(request["request"])
        if cancellation is not None:
            cancellation.cancel()

    def do_extend(self, request: dict[str, Any]) -> None:
        self._hold(request).extend(request["lease_ms"] / 1000)

    def do_downgrade(self, request: dict[str, Any]) -> None:
        self._hold(request).downgrade()

    def do_release(self, request: dict[str, Any]) -> None:
        hold = self._holds.pop(request["hold"], None)
        if hold is None:
            raise Usage(f"no hold {request['hold']}")
        hold.release(cool=common.seconds(request, "cool_ms"))

    def do_held(self, request: dict[str, Any]) -> dict[str, Any]:
        return {"held": self._hold(request).held}

    def do_check(self, request: dict[str, Any]) -> dict[str, Any]:
        return {"held": self._hold(request).check() is not None}

    def do_elect(self, request: dict[str, Any]) -> dict[str, Any]:
        name = request["leader"]
        leader = self._client(request).leader(
            request["key"],
            lease=(request.get("lease_ms") or 10_000) / 1000,
            session=bool(request.get("session")),
            on_lost=self._lost(name),
        )
        hold = self._run(request, lambda cancel: leader.elect(cancel=cancel))
        self._holds[name] = hold
        return common.granted(hold)

    def do_resign(self, request: dict[str, Any]) -> None:
        self._holds.pop(request["leader"]).release()

    def do_observe(self, request: dict[str, Any]) -> dict[str, Any]:
        name = request["observer"]
        first = threading.Event()

        def tell(owner: Any) -> None:
            if first.is_set():
                self._output.write({"event": "leader", "observer": name, "owner": owner})
            first.set()

        observation = self._client(request).leader(request["key"]).observe(tell)
        self._observers.append(observation)
        return {"owner": observation.leader}

    def do_info(self, request: dict[str, Any]) -> dict[str, Any]:
        return common.described(self._client(request).info(request["key"]))

    def do_block(self, request: dict[str, Any]) -> None:
        # A busy loop with a long switch interval: nobody else gets the interpreter.
        interval = sys.getswitchinterval()
        sys.setswitchinterval(3600)
        try:
            end = time.perf_counter() + request["for_ms"] / 1000
            while time.perf_counter() < end:
                pass
        finally:
            sys.setswitchinterval(interval)

    def do_fork(self, request: dict[str, Any]) -> None:
        child = os.fork()
        if child == 0:
            code = 0
            for hold in list(self._holds.values()):
                try:
                    with hold:
                        if hold.held:
                            code = 1
                except BaseException:
                    code = 2
            os._exit(code)
        _, status = os.waitpid(child, 0)
        if status:
            raise RuntimeError(f"the child ended with {status}")

    def do_stats(self, request: dict[str, Any]) -> dict[str, Any]:
        return {"connections_opened": self._client(request).connections_opened}

    def do_close(self, request: dict[str, Any]) -> None:
        for observation in self._observers:
            observation.close()
        self._client(request).close()

    def close(self) -> None:
        for locks in self._locks.values():
            locks.close()

    def _run(self, request: dict[str, Any], job: Any) -> Any:
        cancellation = self._requests[request["id"]]
        try:
            hold = job(cancellation)
        finally:
            with self._guard:
                del self._requests[request["id"]]
        if cancellation.cancelled:
            # It came too late for the client, but the answer was not written yet.
            hold.release()
            raise Cancelled("the acquisition was cancelled")
        return hold

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


def common_features() -> list[str]:
    import __main__

    return list(__main__.FEATURES)


def run(output: Any) -> None:
    driver = Driver(output)
    for line in sys.stdin:
        if line.strip():
            driver.take(json.loads(line))
    try:
        driver.close()
    except ClientClosed:
        pass
