"""How to connect: what the user's redis-py client knows about its servers.

The package opens connections of its own and leaves the client's pool alone. So a pool that is at
its limit cannot keep a release from being sent, and a wait cannot take a connection away from it.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Optional

from ._core import LinkError

VERSION = "0.1.0"

# What of the client's settings says how to reach and to trust the server. The rest (time-outs,
# retries, decoding, caches) is for the client's own connections.
_KEPT = (
    "db",
    "username",
    "password",
    "credential_provider",
    "socket_keepalive",
    "socket_keepalive_options",
    "socket_type",
    "encoding",
    "encoding_errors",
)


@dataclass(frozen=True)
class Endpoint:
    """One server: a TCP address, or the path of a Unix socket."""

    host: str = ""
    port: int = 0
    path: str = ""

    def __str__(self) -> str:
        return self.path or f"{self.host}:{self.port}"


@dataclass
class Target:
    """What a client talks to. `kind` is `single`, `sentinel` or `cluster`."""

    kind: str
    endpoints: list[Endpoint]
    # How to make a connection to a server: a class of redis-py, and its arguments without address.
    connection_class: Any
    settings: dict[str, Any]
    service: str = ""
    sentinel_class: Any = None
    sentinel_settings: list[dict[str, Any]] = field(default_factory=list)
    # A function of the cluster client that translates announced addresses, or None.
    remap: Any = None


def describe(client: Any, *, aio: bool) -> Target:
    """Reads off a redis-py client how it connects; TypeError for anything else."""
    if hasattr(client, "nodes_manager"):
        return _cluster(client, aio)
    pool = getattr(client, "connection_pool", None)
    if pool is None:
        raise TypeError(
            f"Locks takes a client of redis-py (Redis, RedisCluster, or what Sentinel.master_for "
            f"returns), not {type(client).__name__}"
        )
    module = type(pool).__module__
    is_async = module.startswith("redis.asyncio") or inspect.iscoroutinefunction(
        getattr(pool, "get_connection", None)
    )
    if is_async != aio:
        right = "redislock_client.aio.Locks" if is_async else "redislock_client.Locks"
        raise TypeError(f"this client of redis-py needs {right}")
    kwargs = dict(pool.connection_kwargs)
    if hasattr(pool, "sentinel_manager"):
        return _sentinel(pool, kwargs, aio)
    if "path" in kwargs:
        endpoint = Endpoint(path=kwargs["path"])
    else:
        endpoint = Endpoint(kwargs.get("host", "localhost"), int(kwargs.get("port", 6379)))
    return Target("single", [endpoint], _plain(pool.connection_class, aio), _settings(kwargs))


def _sentinel(pool: Any, kwargs: Mapping[str, Any], aio: bool) -> Target:
    if not getattr(pool, "is_master", True):
        raise TypeError("locks need the primary: use Sentinel.master_for, not slave_for")
    sentinels = pool.sentinel_manager.sentinels
    pools = [s.connection_pool for s in sentinels]
    service = pool.service_name
    return Target(
        "sentinel",
        [Endpoint(p.connection_kwargs["host"], int(p.connection_kwargs["port"])) for p in pools],
        _plain(pool.connection_class, aio),
        _settings(kwargs),
        service=service.decode() if isinstance(service, bytes) else service,
        sentinel_class=_plain(pools[0].connection_class, aio),
        sentinel_settings=[_settings(p.connection_kwargs) for p in pools],
    )


def _cluster(client: Any, aio: bool) -> Target:
    module = type(client).__module__
    if module.startswith("redis.asyncio") != aio:
        right = "redislock_client.Locks" if aio else "redislock_client.aio.Locks"
        raise TypeError(f"this cluster client of redis-py needs {right}")
    manager = client.nodes_manager
    nodes = list(manager.startup_nodes.values()) + list(manager.nodes_cache.values())
    endpoints = list(dict.fromkeys(Endpoint(str(n.host), int(n.port)) for n in nodes))
    if aio:
        kwargs = dict(client.connection_kwargs)
        chosen = getattr(nodes[0], "connection_class", None) if nodes else None
    else:
        kwargs = dict(manager.connection_kwargs)
        chosen = kwargs.get("connection_class")
    tls = bool(kwargs.get("ssl")) or "SSL" in getattr(chosen, "__name__", "")
    kwargs.pop("db", None)
    base = _connections(aio)
    return Target(
        "cluster",
        endpoints,
        base.SSLConnection if tls else base.Connection,
        _settings(kwargs),
        remap=getattr(manager, "address_remap", None),
    )


def _connections(aio: bool) -> Any:
    if aio:
        import redis.asyncio.connection as module
    else:
        import redis.connection as module  # type: ignore[no-redef]
    return module


def _plain(connection_class: Any, aio: bool) -> Any:
    """The class without Sentinel's discovery, without a client-side cache."""
    base = _connections(aio)
    name = connection_class.__name__
    if "Sentinel" in name or "CacheProxy" in name:
        return base.SSLConnection if "SSL" in name else base.Connection
    return connection_class


def _settings(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value
        for name, value in kwargs.items()
        if (name in _KEPT or name.startswith("ssl_")) and value is not None
    }


class Dialer:
    """Makes redis-py connections that repeat nothing, decode nothing and speak RESP2."""

    def __init__(self, target: Target, client_name: str, *, aio: bool) -> None:
        self.target = target
        self._name: Optional[str] = client_name
        if aio:
            from redis.asyncio.retry import Retry
        else:
            from redis.retry import Retry  # type: ignore[assignment]
        from redis.backoff import NoBackoff

        self._no_retry = Retry(NoBackoff(), 0)
        self._library = self._library_info()

    def connection(self, endpoint: Endpoint, timeout: float, io_timeout: Optional[float]) -> Any:
        """A connection that is not open yet, to a Redis server."""
        target = self.target
        return self._make(
            target.connection_class,
            {**target.settings, "client_name": self._name, **self._library},
            endpoint,
            timeout,
            io_timeout,
        )

    def without_name(self) -> bool:
        """The user may not name its connections. False if they have no name already."""
        named, self._name = self._name, None
        self._library = {name: None for name in self._library}
        return named is not None

    def sentinel_connection(self, index: int, timeout: float, io_timeout: Optional[float]) -> Any:
        """A connection that is not open yet, to the Sentinel of that number."""
        target = self.target
        settings = {k: v for k, v in target.sentinel_settings[index].items() if k != "db"}
        endpoint = target.endpoints[index]
        return self._make(target.sentinel_class, settings, endpoint, timeout, io_timeout)

    def _make(
        self,
        connection_class: Any,
        settings: Mapping[str, Any],
        endpoint: Endpoint,
        timeout: float,
        io_timeout: Optional[float],
    ) -> Any:
        kwargs = dict(settings)
        if endpoint.path:
            kwargs["path"] = endpoint.path
            for name in ("socket_keepalive", "socket_keepalive_options", "socket_type"):
                kwargs.pop(name, None)
        else:
            kwargs.update(host=endpoint.host, port=endpoint.port)
            kwargs.setdefault("socket_keepalive", True)
            kwargs.setdefault("socket_keepalive_options", _keepalive())
        kwargs.update(
            socket_connect_timeout=timeout,
            socket_timeout=io_timeout,
            retry=self._no_retry,
            protocol=2,
            decode_responses=False,
            health_check_interval=0,
        )
        try:
            return connection_class(**kwargs)
        except OSError as error:
            raise LinkError(str(error)) from error

    def _library_info(self) -> dict[str, Any]:
        try:
            from redis import DriverInfo
        except ImportError:
            return {"lib_name": f"redis-py(redis-lock-client_v{VERSION})"}
        info = DriverInfo()
        info.add_upstream_driver("redis-lock-client", VERSION)
        return {"driver_info": info}


def _keepalive() -> dict[int, int]:
    """TCP notices a machine that vanished within about 15 seconds."""
    import socket

    wanted = {"TCP_KEEPIDLE": 6, "TCP_KEEPINTVL": 3, "TCP_KEEPCNT": 3}
    return {getattr(socket, n): v for n, v in wanted.items() if hasattr(socket, n)}
