"""A lock that also ends when its holder's connection closes, for redis-py 8.

    with session_lock(url, "leader", lease=30, wait=3600) as hold:
        while hold.extend():
            lead_for_a_while()

A SESSION hold follows the connection that asked. A pooled connection must not carry one: it goes
back to the pool after the command, so that the hold outlives whoever took it for as long as the
pool keeps the connection open, and ends in the middle of the work when the pool closes it. So the
holder has a client with a connection of its own.
"""

import math
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

# An answer may take this much longer than the wait, in seconds.
ANSWER_MARGIN = 5.0


class NotAcquired(Exception):
    """Others held the lock all the time one was ready to wait."""


class SessionHold:
    """A hold that follows one connection, made by `session_lock`."""

    def __init__(self, client: Redis, key: str, owner: str, fence: int) -> None:
        self.key = key
        self.owner = owner
        # For the resource: it remembers the largest it saw and refuses smaller ones.
        self.fence = fence
        self._client = client

    def extend(self) -> bool:
        """Makes the lease start anew; False if the hold has ended.

        The lease counts beside the session: it ends the hold if the machine vanishes without
        closing the connection. A broken connection raises ConnectionError: then it has ended too.
        """
        # With the fence: should the owner's name come by a hold again, it would be another one.
        answer = self._client.execute_command(
            "LOCK.EXTEND", self.key, self.owner, "FENCE", self.fence
        )
        return bool(answer)


@contextmanager
def session_lock(url: str, key: str, *, lease: float, wait: float) -> Iterator[SessionHold]:
    """Holds the lock `key` until the body ends or the connection does. Times are in seconds."""
    # One connection, kept open to the end and closed then. Not Redis.client(): that one is lent by a
    # pool and goes back to it. No second try either: it would be made on a new connection, while
    # the session is the old one's.
    with Redis.from_url(url, single_connection_client=True, retry=Retry(NoBackoff(), 0)) as client:
        owner = uuid.uuid4().hex
        px = math.ceil(lease * 1000)
        block = max(1, math.ceil(wait * 1000))  # 0 would be without limit
        client.connection.send_command(
            "LOCK.ACQUIRE", key, owner, "PX", px, "BLOCK", block, "SESSION"
        )
        # The client's socket_timeout (5 seconds if left out) is for the short commands.
        fence = client.connection.read_response(timeout=wait + ANSWER_MARGIN)
        if fence is None:
            raise NotAcquired(key)
        yield SessionHold(client, key, owner, fence)
        # Closing the client ends the hold, or the wait, whatever happened.
