"""What both flavours of the driver share."""

from __future__ import annotations

from typing import Any, Optional

from redislock_client import errors


class Usage(Exception):
    """The request makes no sense for this client."""


class Unsupported(Exception):
    """The client does not have this."""


KINDS: list[tuple[type[BaseException], str]] = [
    (Usage, "usage"),
    (Unsupported, "unsupported"),
    (errors.Cancelled, "cancelled"),
    (errors.NotAcquired, "timeout"),
    (errors.Deadlock, "deadlock"),
    (errors.NotHeld, "not-held"),
    (errors.WrongType, "wrong-type"),
    (errors.NoPermission, "no-permission"),
    (errors.NotDurable, "not-durable"),
    (errors.TooMany, "too-many"),
    (errors.ServerError, "server"),
    (errors.Unreachable, "connection"),
    (errors.ClientClosed, "closed"),
    (ValueError, "usage"),
    (TypeError, "usage"),
]


def kind_of(error: BaseException) -> str:
    return next((kind for cls, kind in KINDS if isinstance(error, cls)), "server")


def seconds(request: dict[str, Any], name: str) -> Optional[float]:
    value = request.get(name)
    return None if value is None else value / 1000


def options(request: dict[str, Any]) -> dict[str, Any]:
    """The keyword arguments of `lock` and its likes."""
    found: dict[str, Any] = {
        "timeout": seconds(request, "timeout_ms"),
        "session": bool(request.get("session")),
        "max": seconds(request, "max_ms"),
        "renew": request.get("renew", True),
    }
    if request.get("lease_ms") is not None:
        found["lease"] = request["lease_ms"] / 1000
    return found


def lock_of(factory: Any, request: dict[str, Any], on_lost: Any) -> Any:
    """The lock object for a request."""
    given = options(request) | {"on_lost": on_lost}
    mode = request.get("mode", "exclusive")
    if request.get("keys") is not None:
        return factory.multi(request["keys"], shared=mode == "shared", **given)
    key = request["key"]
    if mode == "shared":
        return factory.rwlock(key, **given).read()
    if mode == "counted":
        return factory.semaphore(key, request["limit"], weight=request.get("weight") or 1, **given)
    if mode != "exclusive":
        raise Usage(f"not a mode: {mode!r}")
    return factory.lock(
        key,
        delay=seconds(request, "delay_ms"),
        durable=request.get("durable") or 0,
        **given,
    )


def granted(hold: Any) -> dict[str, Any]:
    fences = list(hold.fences.values())
    answer: dict[str, Any] = {"owner": hold.owner}
    if len(fences) > 1 or hold._state.request.multi:
        answer["fences"] = fences
    else:
        answer["fence"] = fences[0]
    return answer


def client_of(request: dict[str, Any], module: Any) -> Any:
    """A client of redis-py as an application makes it. `module` is `redis` or `redis.asyncio`."""
    urls = request["urls"]
    more: dict[str, Any] = {}
    if request.get("max_connections"):
        more["max_connections"] = request["max_connections"]
    kind = request["deployment"]
    if kind == "single":
        return module.Redis.from_url(urls[0], **more)
    if kind == "cluster":
        from urllib.parse import urlsplit

        if module.__name__ == "redis":
            from redis.cluster import ClusterNode, RedisCluster
        else:
            from redis.asyncio.cluster import ClusterNode, RedisCluster

        parts = [urlsplit(url) for url in urls]
        nodes = [ClusterNode(p.hostname, p.port) for p in parts]
        login = {}
        if parts[0].password:
            login = {"username": parts[0].username or None, "password": parts[0].password}
        return RedisCluster(startup_nodes=nodes, **login, **more)
    if kind == "sentinel":
        from urllib.parse import urlsplit

        if module.__name__ == "redis":
            from redis.sentinel import Sentinel
        else:
            from redis.asyncio.sentinel import Sentinel
        addresses = [(urlsplit(u).hostname, urlsplit(u).port) for u in urls]
        return Sentinel(addresses, socket_timeout=1).master_for(request["service"], **more)
    raise Unsupported(f"the Python client has no {kind}")


def client_options(request: dict[str, Any]) -> dict[str, Any]:
    return {
        "label": request.get("label"),
        "request_timeout": (request.get("request_timeout_ms") or 1000) / 1000,
        "share_waits": bool(request.get("share_waits")),
    }


def described(info: Any) -> dict[str, Any]:
    if info is None:
        return {"holders": [], "waiters": 0}
    return {"holders": [h.owner for h in info.holders], "waiters": info.waiters}
