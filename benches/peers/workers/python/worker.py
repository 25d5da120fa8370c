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
from samples import micros, quantiles

PEERS = peer_redis_lock.PEERS + peer_redis_py.PEERS + peer_python_redis_lock.PEERS

HANDOFF_QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}
WAIT_QUANTILES = HANDOFF_QUANTILES | {"p999": 0.999}


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
        tell({"event": "result", "error": "no such peer and row"})
        return 1
    run = None
    elapsed_s = 0.0
    error = None
    try:
        run = Run(job, peer)
        run.start()
        run.let_run(job.warmup_seconds)
        tell({"event": "ready"})
        await_go(run)
        elapsed_s = run.measure()
        run.stop()
        run.check()
    except Exception as failure:
        traceback.print_exc()
        error = f"{type(failure).__name__}: {failure}"
        if run is not None:
            run.stop()
    tell(result(job, peer, run, elapsed_s, error))
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


def result(job: Job, peer: Peer, run: Run | None, elapsed_s: float, error: str | None) -> Any:
    about = peer.about()
    told = {"event": "result"} | {
        name: about[name] for name in ("library", "version", "client", "settings")
    }
    if run is None:
        return told | {"errors": 1, "error": error}
    watches = run.watches
    per_client = [sum(grants) for grants in zip(*(watch.grants_of for watch in watches))]
    sections_ns = [ns for watch in watches for ns in watch.sections_ns]
    waits_ns = chain.from_iterable(watch.waits_ns for watch in watches)
    oldest_ns = max(watch.oldest_pending_ns for watch in watches)
    handoffs_ns = chain.from_iterable(watch.handoffs_ns for watch in watches)
    return told | {
        "grants": sum(per_client),
        "grants_total": sum(watch.grants_total for watch in watches),
        "per_client": per_client,
        "elapsed_s": elapsed_s,
        "gave_up": run.gave_up,
        "violations": sum(watch.violations for watch in watches),
        "section_us_mean": micros(sum(sections_ns) / len(sections_ns)) if sections_ns else None,
        "wait_us": quantiles(waits_ns, WAIT_QUANTILES, oldest_ns),
        "pending": sum(watch.pending for watch in watches),
        "handoff_us": quantiles(handoffs_ns, HANDOFF_QUANTILES) if job.contended else None,
        "overtakes": sum(watch.overtakes for watch in watches),
        "errors": run.errors,
        "error": error,
    }


if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    # Threads that hang on a dead server must not keep the process.
    os._exit(code)
