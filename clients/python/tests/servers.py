"""Servers for the tests: each with a directory and a port of its own, on loopback."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import redis

# Generous, because only a failure uses it up.
DEADLINE = 60.0
ROOT = Path(__file__).resolve().parents[3]


def module() -> str:
    default = ROOT / "target" / "release" / "libredis_lock.so"
    return os.environ.get("REDIS_LOCK_MODULE", str(default))


def until(condition: Callable[[], Any], what: str = "it did not come about") -> None:
    """Waits for the condition, however slow the machine is."""
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.005)


def free_port() -> int:
    # The cluster bus is 10000 above.
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        if port < 55000:
            return port


class Server:
    def __init__(self, *options: str, sentinel: str = "") -> None:
        if not sentinel and not Path(module()).exists():
            raise FileNotFoundError(f"there is no {module()}: set REDIS_LOCK_MODULE, or make build")
        self.folder = tempfile.mkdtemp(prefix="redislock-py-")
        self.options = options
        self.sentinel = sentinel
        self.process: subprocess.Popen[bytes] | None = None
        for _ in range(5):
            self.port = free_port()
            if self.start():
                return
        raise RuntimeError(Path(self.folder, "log").read_text())

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def start(self) -> bool:
        program = os.environ.get("REDIS_SERVER", "redis-server")
        command = [program]
        if self.sentinel:
            config = Path(self.folder, "sentinel.conf")
            config.write_text(self.sentinel)
            command += [str(config), "--sentinel"]
        command += ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", self.folder]
        if not self.sentinel:
            command += ["--save", "", "--loadmodule", module(), *self.options]
        with open(Path(self.folder, "log"), "ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        deadline = time.monotonic() + DEADLINE
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                with self.client() as client:
                    client.ping()
                    return True
            except redis.ConnectionError:
                time.sleep(0.01)
        return False

    def client(self, **more: Any) -> redis.Redis:
        more = {"socket_timeout": DEADLINE, "decode_responses": True, "protocol": 3} | more
        return redis.Redis(port=self.port, **more)

    def signal(self, number: int) -> None:
        assert self.process
        self.process.send_signal(number)

    def stop(self) -> None:
        """It hangs. TCP goes on answering."""
        self.signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self.signal(signal.SIGCONT)

    def kill(self) -> None:
        assert self.process
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


class Operator:
    """Sees and breaks locks, on a connection of its own."""

    def __init__(self, server: Server) -> None:
        self.client = server.client()

    def info(self, key: str) -> dict[str, Any]:
        """LOCK.INFO; empty if the lock is free."""
        return self.client.execute_command("LOCK.INFO", key) or {}

    def holders(self, key: str) -> list[str]:
        return [holder["owner"] for holder in self.info(key).get("holders", [])]

    def waiters(self, key: str) -> int:
        return int(self.info(key).get("waiters", 0))

    def take(self, key: str, owner: str = "operator", ms: int = 600_000) -> None:
        assert self.client.execute_command("LOCK.ACQUIRE", key, owner, "PX", ms)

    def release(self, key: str, owner: str = "operator") -> bool:
        return bool(self.client.execute_command("LOCK.RELEASE", key, owner))

    def locks(self) -> list[dict[str, Any]]:
        cursor, found = "0", []
        while True:
            cursor, page = self.client.execute_command("LOCK.LIST", cursor, "COUNT", 1000)
            found += page
            if cursor == "0":
                return found

    def is_free(self, key: str) -> bool:
        return self.info(key).get("mode", "cooling") == "cooling"

    def connections(self) -> int:
        return int(self.client.info("stats")["total_connections_received"])


class Relay:
    """Stands between a client and a server. It can delay each chunk, drop replies, or cut."""

    def __init__(self, port: int) -> None:
        self.target = port
        self.delay = 0.0
        self.drop_replies = False
        self.held = threading.Event()
        self.held.set()
        self._sockets: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def cut(self) -> None:
        """Closes all connections."""
        sockets, self._sockets = self._sockets, []
        for each in sockets:
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            each.close()

    def close(self) -> None:
        try:
            # Closing alone does not end an accept that waits.
            self._listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._listener.close()
        self.held.set()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                return
            self._sockets += [client, server]
            for way in ((client, server, True), (server, client, False)):
                threading.Thread(target=self._pass, args=way, daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket, up: bool) -> None:
        try:
            while chunk := source.recv(65536):
                self.held.wait()
                if up and self.delay:
                    time.sleep(self.delay)
                if not up and self.drop_replies:
                    continue
                sink.sendall(chunk)
        except OSError:
            pass
        for each in (source, sink):
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
