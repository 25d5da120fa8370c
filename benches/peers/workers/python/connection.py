"""Clients of redis-py that can be closed while they wait."""

from typing import Any

import redis
from redis.connection import AbstractConnection

from job import Job


class Closed(Exception):
    """The client was closed for good."""


class Closable:
    """A client of redis-py for one thread, so with one connection; alike for all peers.

    redis-py connects anew when a connection breaks, also one that was closed to end a wait.
    `close` forbids that too.
    """

    def __init__(self, job: Job, **options: Any) -> None:
        self._closed = False
        self.redis = redis.Redis(
            host=job.host,
            port=job.port,
            # Its type does not say that it is given the connection.
            redis_connect_func=self._connected,  # type: ignore[arg-type]
            **options,
        )
        self.redis.ping()

    def close(self) -> None:
        self._closed = True
        self.redis.connection_pool.disconnect()

    def _connected(self, connection: AbstractConnection) -> None:
        if self._closed:
            raise Closed
        connection.on_connect()
