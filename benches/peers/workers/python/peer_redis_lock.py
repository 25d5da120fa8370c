"""The commands of redis-lock, with redis-py."""

import uuid

from connection import Closable
from job import Job
from peer import Peer


class Client:
    def __init__(self, job: Job, key: str) -> None:
        self._key = key
        self._lease_ms = job.lease_ms
        self._owner = ""
        # The read time-out must lie above BLOCK, and BLOCK 0 is without limit.
        self._client = Closable(job, socket_timeout=None)

    def acquire(self) -> bool:
        self._owner = uuid.uuid4().hex
        fence = self._client.redis.execute_command(
            "LOCK.ACQUIRE", self._key, self._owner, "PX", self._lease_ms, "BLOCK", 0
        )
        return fence is not None

    def release(self) -> None:
        if self._client.redis.execute_command("LOCK.RELEASE", self._key, self._owner) != 1:
            raise RuntimeError("the hold had ended before its release")

    def give_up(self) -> None:
        self._client.close()


PEERS = [
    Peer(
        peer="redis-lock",
        row="defaults",
        library="redis-lock",
        version="the module of the server",
        settings="LOCK.ACQUIRE key owner PX lease BLOCK 0, LOCK.RELEASE key owner; a new owner"
        " (UUID) for each acquisition, a connection for each thread, socket_timeout=None",
        links=["https://redis.readthedocs.io/en/stable/"],
        connect=Client,
    )
]
