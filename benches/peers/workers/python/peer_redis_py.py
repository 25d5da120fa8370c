"""The lock that comes with redis-py: polls with SET NX."""

from functools import partial
from importlib.metadata import version

from connection import Closable
from job import Job
from peer import Peer

# Documented: how long to sleep between two tries. Its default is 0.1.
TUNED_SLEEP_S = 0.001


class Client:
    def __init__(self, job: Job, key: str, **options: float) -> None:
        self._client = Closable(job)
        self._lock = self._client.redis.lock(key, timeout=job.lease_ms / 1000, **options)

    def acquire(self) -> bool:
        return bool(self._lock.acquire())

    def release(self) -> None:
        self._lock.release()

    def give_up(self) -> None:
        self._client.close()


def _row(row: str, settings: str, **options: float) -> Peer:
    return Peer(
        peer="redis-py",
        row=row,
        library="redis.lock.Lock",
        version=version("redis"),
        settings=f"Redis.lock(key, timeout=lease{settings}); a client, so a connection, for each thread",
        links=["https://redis.readthedocs.io/en/stable/lock.html"],
        connect=partial(Client, **options),
    )


PEERS = [
    _row("defaults", ""),
    _row("tuned", f", sleep={TUNED_SLEEP_S}", sleep=TUNED_SLEEP_S),
]
