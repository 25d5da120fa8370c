"""Locks of redis-lock for redis-py 8.

    with lock(client, "orders:42", lease=10, wait=5) as hold:
        write_to_the_resource(fence=hold.fence)

The hold lasts for the lease; with `renew=True` a thread extends it while the body runs.
"""

import math
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

# An answer may take this much longer than the wait, in seconds.
ANSWER_MARGIN = 5.0


class NotAcquired(Exception):
    """Others held the lock all the time one was ready to wait."""


class NotHeld(Exception):
    """The hold had ended before: by its lease, or by an operator.

    Others may have held the lock since. After a lost reply redis-py sends a command again, and
    a second release finds nothing: that is told as NotHeld too.
    """


@contextmanager
def lock(
    client: Redis, key: str, *, lease: float, wait: float = 0, renew: bool = False
) -> Iterator["Hold"]:
    """Holds the lock `key` while the body runs. All times are in seconds.

    Raises NotAcquired if it is not granted within `wait`, and NotHeld after the body if the hold
    had ended before.
    """
    hold = Hold(client, key, lease)
    if not hold._acquire(wait):
        raise NotAcquired(key)
    done = threading.Event()
    try:
        if renew:
            threading.Thread(target=hold._renew_until, args=(done,), daemon=True).start()
        yield hold
    except BaseException:
        # What the body raised is what the caller has to see.
        with suppress(RedisError):
            hold._release()
        raise
    finally:
        done.set()
    if not hold._release():
        raise NotHeld(key)


class Hold:
    """A hold of one lock, made by `lock`."""

    def __init__(self, client: Redis, key: str, lease: float) -> None:
        self.key = key
        # A new owner for each acquisition: whatever is sent twice after a lost reply is harmless,
        # and nothing that arrives late can end somebody else's hold.
        self.owner = uuid.uuid4().hex
        # For the resource: it remembers the largest it saw and refuses smaller ones.
        self.fence = 0
        self._client = client
        self._lease = lease
        self._held_until = -math.inf

    @property
    def held(self) -> bool:
        """Whether it is surely held, unless an operator has just ended it.

        False as soon as an extension was refused, or the lease is over by this process's clock.
        Then stop changing the resource, at once.
        """
        return time.monotonic() < self._held_until

    def extend(self) -> None:
        """Makes the lease start anew. Raises NotHeld if the hold has ended."""
        # Counted from the sending, so that it never ends later here than in the server.
        sent = time.monotonic()
        if not self._send("LOCK.EXTEND", "PX", _ms(self._lease)):
            self._held_until = -math.inf
            raise NotHeld(self.key)
        self._held_until = sent + self._lease

    def _acquire(self, wait: float) -> bool:
        sent = time.monotonic()
        try:
            fence = self._ask(sent + wait)
            if fence is None:
                return False
            self.fence = fence
            self._held_until = sent + self._lease
            # The lease began with the grant, at some time since then. After a long wait an
            # extension makes sure how much of it is left.
            if time.monotonic() - sent > self._lease / 3:
                self.extend()
        except BaseException:
            # Ctrl-C, or no answer: the grant may be on its way. A release ends the hold or
            # withdraws the wait, and is harmless if there is neither.
            with suppress(RedisError):
                self._release()
            raise
        return True

    def _ask(self, deadline: float) -> int | None:
        # A wait keeps a connection busy to its end, so it takes one of the pool for itself, also
        # if the client is a single_connection_client. A pool needs more connections than there
        # are waits (max_connections, 100 if left out), or none is left for the release.
        pool = self._client.connection_pool
        connection = pool.get_connection()

        def ask() -> Any:
            left = max(0.0, deadline - time.monotonic())
            block = ("BLOCK", _ms(left)) if left else ()
            px = _ms(self._lease)
            connection.send_command("LOCK.ACQUIRE", self.key, self.owner, "PX", px, *block)
            # The client's socket_timeout (5 seconds if left out) would cut longer waits off, and
            # each repetition would stand at the end of the line.
            return connection.read_response(timeout=left + ANSWER_MARGIN)

        try:
            # How often it asks again after a lost connection is said by the client's Retry, as
            # for every other command.
            fence: int | None = connection.retry.call_with_retry(
                ask, lambda _: connection.disconnect()
            )
            return fence
        except BaseException:
            # The answer may still come, and must not be read by the next user.
            connection.disconnect()
            raise
        finally:
            pool.release(connection)

    def _renew_until(self, done: threading.Event) -> None:
        while self.held and not done.wait(self._lease / 3):
            try:
                self.extend()
            except NotHeld:
                return
            except RedisError:
                continue  # It may be held still: ask again while there is time.

    def _release(self) -> bool:
        return bool(self._send("LOCK.RELEASE"))

    def _send(self, command: str, *options: str | int) -> Any:
        return self._client.execute_command(command, self.key, self.owner, *options)


def _ms(seconds: float) -> int:
    return math.ceil(seconds * 1000)
