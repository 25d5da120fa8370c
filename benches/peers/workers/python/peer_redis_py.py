"""The lock that comes with redis-py: polls with SET NX."""

from functools import partial
from importlib.metadata import version

from connection import Closable
from job import Job
from peer import Peer

# The documented setting for a lock that many want is `sleep`, the pause between two tries (0.1 s if
# left out). All clients are threads of one interpreter: where they try more often than so many
# times a second in all, they keep the holder from running and the lock is granted less often, not
# more; seldom tried, one client takes all turns. Found by trying 500 to 4000 with 10 and 100
# clients.
TUNED_TRIES_PER_S = 2000


class Client:
    def __init__(self, job: Job, key: str, *, tuned: bool) -> None:
        self._client = Closable(job)
        lock = partial(self._client.redis.lock, key, timeout=job.lease_ms / 1000)
        self._lock = lock(sleep=job.clients / TUNED_TRIES_PER_S) if tuned else lock()

    def acquire(self) -> bool:
        return bool(self._lock.acquire())

    def release(self) -> None:
        self._lock.release()

    def give_up(self) -> None:
        self._client.close()


def _row(row: str, settings: str, *, tuned: bool) -> Peer:
    return Peer(
        peer="redis-py",
        row=row,
        library="redis.lock.Lock",
        version=version("redis"),
        settings=f"Redis.lock(key, timeout=lease{settings}); a client, so a connection, for each"
        " thread",
        links=["https://redis.readthedocs.io/en/stable/lock.html"],
        connect=partial(Client, tuned=tuned),
    )


PEERS = [
    _row("defaults", "", tuned=False),
    _row("tuned", f", sleep=clients / {TUNED_TRIES_PER_S} s", tuned=True),
]
