"""The driver of the Python client:  driver.py --flavour sync|asyncio

It speaks the protocol of conformance/PROTOCOL.md. It needs redis-lock-client and redis-py; if they
are not installed for the Python that runs it, it goes on with the one that
`clients/python/test.sh --venv` has prepared.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
VENV = ROOT / "target" / "clients" / "python" / "newest" / "bin" / "python"

FEATURES = [
    "shared", "counted", "session", "keys", "scope", "max", "cool", "delay", "downgrade",
    "reentrant", "durable", "elect", "observe", "tracking", "share-waits", "fork", "block",
    "sentinel", "cluster", "fake",
]  # fmt: skip


class Output:
    """Writes one JSON object a line, from any thread."""

    def __init__(self) -> None:
        # Whatever else prints goes to the log.
        self._file = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)
        self._lock = threading.Lock()

    def write(self, message: dict[str, Any]) -> None:
        with self._lock:
            self._file.write(json.dumps(message) + "\n")
            self._file.flush()

    def answer(self, identity: int, ok: dict[str, Any]) -> None:
        self.write({"id": identity, "ok": ok})

    def refuse(self, identity: int, kind: str, message: str) -> None:
        self.write({"id": identity, "error": {"kind": kind, "message": message}})


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--flavour", choices=["sync", "asyncio"], default="sync")
    flavour = parser.parse_args().flavour
    source = ROOT / "clients" / "python" / "src"
    if source.is_dir():
        sys.path.insert(0, str(source))
    if importlib.util.find_spec("redis") is None:
        if Path(sys.prefix) == VENV.parents[1] or not VENV.exists():
            sys.exit("driver.py: install redis, or run clients/python/test.sh --venv")
        os.execv(VENV, [str(VENV), *sys.argv])
    import faults

    faults.plant(os.environ.get("PLANTED_FAULT", ""))
    output = Output()
    if flavour == "asyncio":
        import aio_driver

        aio_driver.run(output)
    else:
        import sync_driver

        sync_driver.run(output)


if __name__ == "__main__":
    main()
