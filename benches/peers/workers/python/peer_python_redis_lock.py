"""The package python-redis-lock: SET NX, and BLPOP on a second key to wait."""

from importlib.metadata import version

import redis_lock

from connection import Closable
from job import Job
from peer import Peer


class Client:
    def __init__(self, job: Job, key: str) -> None:
        # It waits in BLPOP for as long as the lease. The time-out of redis-py, 5 s, would cut that
        # off: redis-py sends again, at the end of the line, and fails after ten times.
        self._client = Closable(job, socket_timeout=None)
        self._lock = redis_lock.Lock(
            self._client.redis, key, expire=max(1, round(job.lease_ms / 1000))
        )

    def acquire(self) -> bool:
        return bool(self._lock.acquire())

    def release(self) -> None:
        self._lock.release()

    def give_up(self) -> None:
        self._client.close()


# Its documentation offers no setting for contention, so there is no tuned row.
PEERS = [
    Peer(
        peer="python-redis-lock",
        row="defaults",
        library="python-redis-lock",
        version=version("python-redis-lock"),
        settings="Lock(client, key, expire=lease), whole seconds; a client, so a connection, for"
        " each thread, socket_timeout=None because BLPOP waits for longer than redis-py's 5 s",
        links=["https://python-redis-lock.readthedocs.io/en/latest/"],
        connect=Client,
    )
]
