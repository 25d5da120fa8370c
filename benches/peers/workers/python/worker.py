"""Measures one job, or lists the peers. Standard output carries JSON only, one object a line."""

import json
import os
import sys
import threading
import traceback
from itertools import chain
from typing import Any

import peer_python_redis_lock
import peer_redis_lock
import peer_redis_py
from job import Job
from peer import Peer
from run import Run
from samples import micros, quantiles, quantiles_of_groups
from watch import Watch

PEERS = peer_redis_lock.PEERS + peer_redis_py.PEERS + peer_python_redis_lock.PEERS


def main() -> int:
    # Whatever a library prints goes to standard error.
    out, sys.stdout = sys.stdout, sys.stderr
    if len(sys.argv) != 2:
        print("usage: worker.py <job in JSON | peers>", file=sys.stderr)
        return 2

    def tell(event: object) -> None:
        print(json.dumps(event), file=out, flush=True)

    if sys.argv[1] == "peers":
        tell([peer.about() for peer in PEERS])
        return 0
    job = Job.parse(sys.argv[1])
    peer = next((p for p in PEERS if (p.peer, p.row) == (job.peer, job.row)), None)
    if peer is None:
        tell(result(job, None, None, "no such peer and row"))
        return 1
    run = None
    error = None
    try:
        run = Run(job, peer)
        run.start()
        run.let_run(job.warmup_seconds)
        tell({"event": "ready"})
        await_go(run)
        run.measure()
        run.stop()
        run.check()
    except Exception as failure:
        traceback.print_exc()
        error = f"{type(failure).__name__}: {failure}"
        if run is not None:
            run.stop()
    tell(result(job, peer, run, error))
    return 0 if error is None else 1


def await_go(run: Run) -> None:
    """Reads in a thread of its own, so that a failing client ends this too."""
    lines: list[str] = []

    def read() -> None:
        lines.append(sys.stdin.readline().strip())
        run.event.set()

    threading.Thread(target=read, name="stdin", daemon=True).start()
    run.event.wait()
    run.check()
    run.event.clear()
    if lines != ["go"]:
        raise EOFError(f"expected go, read: {lines}")


def result(job: Job, peer: Peer | None, run: Run | None, error: str | None) -> dict[str, Any]:
    """Complete also where nothing was measured, so that whoever reads it finds the error."""
    about = peer.about() if peer else {}
    watches = run.watches if run else [Watch(job.clients)]
    waits_ns: list[list[int]] = [
        list(chain.from_iterable(watch.waits_ns[id] for watch in watches))
        for id in range(job.clients)
    ]
    pending_ns = {id: ns for watch in watches for id, ns in watch.pending_ns.items()}
    all_waits_ns = [
        waits + ([pending_ns[id]] if id in pending_ns else []) for id, waits in enumerate(waits_ns)
    ]
    sections_ns = [ns for watch in watches for ns in watch.sections_ns]
    handoffs_ns = chain.from_iterable(watch.handoffs_ns for watch in watches)
    wait_us = quantiles(chain.from_iterable(waits_ns))
    if pending_ns:
        # A wait that is still pending has no end, but it was that long at least.
        wait_us["max"] = max(wait_us.get("max", 0), micros(max(pending_ns.values())))
    return {
        "event": "result",
        **{key: about[key] for key in ("library", "version", "client", "settings") if key in about},
        "grants": sum(map(len, waits_ns)),
        "grants_total": sum(watch.grants_total for watch in watches),
        "per_client": [len(waits) for waits in waits_ns],
        "elapsed_s": run.elapsed_s if run else 0.0,
        "gave_up": run.gave_up if run else 0,
        "violations": sum(watch.violations for watch in watches),
        "section_us_mean": micros(sum(sections_ns) / len(sections_ns)) if sections_ns else None,
        "wait_us": wait_us,
        "wait_by_client_us": quantiles_of_groups(all_waits_ns),
        "pending": len(pending_ns),
        "handoff_us": quantiles(handoffs_ns) if job.contended else None,
        "overtakes": sum(watch.overtakes for watch in watches),
        "errors": run.errors if run else 1,
        "error": error,
    }


if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    # Threads that hang on a dead server must not keep the process.
    os._exit(code)
