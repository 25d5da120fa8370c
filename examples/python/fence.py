"""What the fence is for, told as it happens:  REDIS_URL=redis://127.0.0.1:6379 python fence.py

A is a process that is stopped in the middle of its work for longer than its lease lasts. Meanwhile
B gets the lock and changes the account. Then A goes on, believes that it still holds the lock, and
writes what it worked out from the old balance.
"""

import multiprocessing
import os
import signal
import sqlite3
import sys
import tempfile
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from redis import Redis
from redislock_client import Locks, NotHeld

# The check and the write are one step: nobody comes in between.
FENCED = "UPDATE account SET balance = :balance, fence = :fence WHERE fence <= :fence"
UNFENCED = "UPDATE account SET balance = :balance"

# In seconds. A's lease ends while A is stopped; B waits for that.
LEASE_OF_A = 2.0
LEASE_OF_B = WAIT = 30.0

A, B, ACCOUNT = 0, 34, 68  # the columns of the picture


class Scene(NamedTuple):
    """Where it plays: the server and the key of the lock, the account, how it is written to."""

    url: str
    key: str
    file: Path
    update: str


class Account(NamedTuple):
    """The resource: what it holds, and the largest fence that it saw."""

    balance: int
    fence: int


def play(scene: Scene) -> Account:
    """Plays the whole story, and tells what the account is in the end."""
    with closing(sqlite3.connect(scene.file)) as db, db:
        db.execute("CREATE TABLE account AS SELECT 100 AS balance, 0 AS fence")
    tell(A, f"{'A':{B}}{'B':{ACCOUNT - B}}account")

    a = multiprocessing.get_context("spawn").Process(target=stale_worker, args=(scene,))
    a.start()
    try:
        assert a.pid
        _, status = os.waitpid(a.pid, os.WUNTRACED)
        if not os.WIFSTOPPED(status):
            raise ChildProcessError("A ended before it was stopped")
        worker(scene)
        os.kill(a.pid, signal.SIGCONT)
        a.join()
    finally:
        a.kill()
        a.join()
    return read(scene)


def stale_worker(scene: Scene) -> None:
    """A: adds 10."""
    with Locks(Redis.from_url(scene.url), renew=False) as locks:
        try:
            with locks.lock(scene.key, lease=LEASE_OF_A, timeout=WAIT) as hold:
                tell(A, f"granted, fence {hold.fence}")
                balance = read(scene).balance
                tell(A, f"reads {balance}")
                hold.raise_if_lost()
                tell(A, "still holds, so it will write")
                # In life: a long garbage collection, a suspended machine, a swapping host. It can
                # come after every check, so no check by A can help.
                tell(A, "is stopped (SIGSTOP)")
                os.kill(os.getpid(), signal.SIGSTOP)
                tell(A, f"goes on (SIGCONT), writes {balance + 10}")
                write(scene, Account(balance + 10, hold.fence))
        except NotHeld:
            tell(A, "releases: it was not held any more")


def worker(scene: Scene) -> None:
    """B: adds 50."""
    with Locks(Redis.from_url(scene.url)) as locks:
        tell(B, "waits until A's lease is over")
        with locks.lock(scene.key, lease=LEASE_OF_B, timeout=WAIT) as hold:
            tell(B, f"granted, fence {hold.fence}")
            balance = read(scene).balance
            tell(B, f"reads {balance}, writes {balance + 50}")
            write(scene, Account(balance + 50, hold.fence))


def read(scene: Scene) -> Account:
    with closing(sqlite3.connect(scene.file)) as db:
        return Account(*db.execute("SELECT balance, fence FROM account").fetchone())


def write(scene: Scene, new: Account) -> None:
    with closing(sqlite3.connect(scene.file)) as db, db:
        is_written = db.execute(scene.update, new._asdict()).rowcount == 1
    if is_written:
        tell(ACCOUNT, f"{new.balance}: accepted")
    else:
        tell(ACCOUNT, f"{new.balance}: refused, {new.fence} < {read(scene).fence}")


def tell(column: int, text: str) -> None:
    print(" " * column + text, flush=True)


def main() -> None:
    url = os.environ.get("REDIS_URL") or sys.exit(
        "fence.py: set REDIS_URL to a server with redis-lock"
    )
    # Also then A is not left behind, stopped for ever.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory() as folder:
        print("The account compares fences\n")
        fenced = play(Scene(url, "example:account", Path(folder, "fenced"), FENCED))
        print(f"\nThe account holds {fenced.balance}: what B wrote. A has to begin anew.\n\n")

        print("The account does not compare fences\n")
        unfenced = play(Scene(url, "example:account", Path(folder, "unfenced"), UNFENCED))
        print(f"\nThe account holds {unfenced.balance}: what B wrote is lost.")


if __name__ == "__main__":
    main()
