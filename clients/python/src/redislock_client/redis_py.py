"""redis-py's own Lock interface over the locks of the redis-lock module.

    from redislock_client.redis_py import Lock
    with client.lock("orders:42", timeout=10, lock_class=Lock):
        ...

Nothing else of the code changes. What differs in what it does:

* Waiting clients stand in the server's queue. Nobody polls, and `sleep` is ignored.
* Without `timeout` the lock is renewed as long as the process lives, and is free 30 seconds after
  its death. redis-py's lock stays taken for ever.
* The token is the owner that LOCK.INFO shows. `fence` is the fencing token.
* A key that holds something else raises LockError at once. redis-py waits for it to go away.
"""

from __future__ import annotations

import logging
import math
import threading
from types import SimpleNamespace, TracebackType
from typing import Any, Optional, Union

import redis.asyncio.lock
import redis.lock
from redis.exceptions import LockError, LockNotOwnedError

from . import _sync, _sync_lock, aio, errors
from ._base import Spec
from ._core import check_timeout

__all__ = ["AsyncLock", "Lock"]

logger = logging.getLogger("redislock_client")

Number = Union[int, float]

# Of a lock without time-out, which is renewed.
LEASE = 30.0

_ATTRIBUTE = "_redislock_client_locks"
_making = threading.Lock()


def locks_of(client: Any) -> Any:
    """The client for locks that belongs to this client of redis-py."""
    found = getattr(client, _ATTRIBUTE, None)
    if found is None:
        with _making:
            found = getattr(client, _ATTRIBUTE, None)
            if found is None:
                is_async = type(client).__module__.startswith("redis.asyncio")
                found = aio.Locks(client) if is_async else _sync.Locks(client)
                setattr(client, _ATTRIBUTE, found)
    return found


def _error(kind: type[LockError], text: str, name: Any) -> LockError:
    error = kind(text)
    error.lock_name = name
    return error


class _Common:
    """What the blocking lock and the asynchronous one share."""

    redis: Any
    name: Any
    timeout: Optional[Number]
    blocking: bool
    blocking_timeout: Optional[Number]
    local: Any

    def _begin(
        self,
        client: Any,
        name: Any,
        timeout: Optional[Number],
        sleep: Number,
        blocking: bool,
        blocking_timeout: Optional[Number],
        thread_local: bool,
        raise_on_release_error: bool,
    ) -> None:
        self.redis = client
        self.name = name
        self.timeout = timeout
        self.sleep = sleep
        self.blocking = blocking
        self.blocking_timeout = blocking_timeout
        self.thread_local = bool(thread_local)
        self.raise_on_release_error = raise_on_release_error
        self.local = threading.local() if self.thread_local else SimpleNamespace()
        self.local.token = None
        self._locks = locks_of(client)

    @property
    def fence(self) -> int:
        """The fencing token of the hold. Raises LockError if there is none."""
        return int(self._held("ask for the fence of").fence)

    @property
    def hold(self) -> Any:
        """The hold of this package behind the lock, or None."""
        return getattr(self.local, "hold", None)

    def _key(self) -> Any:
        return bytes(self.name) if isinstance(self.name, memoryview) else self.name

    def _spec(self) -> Spec:
        if self.timeout is None:
            return Spec((self._key(),), lease=LEASE, renew=True, cancel_on_loss=False)
        return Spec((self._key(),), lease=self.timeout, renew=False, cancel_on_loss=False)

    def _seconds(self, blocking: Optional[bool], timeout: Optional[Number]) -> float:
        if not (self.blocking if blocking is None else blocking):
            return 0.0
        limit = self.blocking_timeout if timeout is None else timeout
        return math.inf if limit is None else check_timeout(max(0.0, limit))

    def _owner(self, token: Any) -> str:
        if token is None:
            return str(self._locks._new_owner())
        encoded = self.redis.get_encoder().encode(token)
        return str(bytes(encoded).decode())

    def _took(self, hold: Any) -> None:
        self.local.token = hold.owner.encode()
        self.local.hold = hold

    def _held(self, what: str) -> Any:
        if self._token() is None:
            raise _error(LockError, f"Cannot {what} an unlocked lock", self.name)
        return self.local.hold

    def _token(self) -> Any:
        # In another thread there is none.
        return getattr(self.local, "token", None)

    def _timed(self, what: str) -> Any:
        hold = self._held(what)
        if self.timeout is None:
            raise _error(LockError, f"Cannot {what} a lock with no timeout", self.name)
        return hold

    def _lost(self, what: str) -> LockError:
        text = f"Cannot {what} a lock that's no longer owned"
        return _error(LockNotOwnedError, text, self.name)

    def _not_a_lock(self, error: errors.WrongType) -> LockError:
        return _error(LockError, f"The key holds something else: {error}", self.name)

    def _letting_go(self) -> Any:
        if self._token() is None:
            text = "Cannot release a lock that's not owned or is already unlocked."
            raise _error(LockError, text, self.name)
        hold, self.local.token, self.local.hold = self.local.hold, None, None
        return hold


class Lock(_Common, redis.lock.Lock):
    """For `client.lock(name, lock_class=Lock)` of `redis.Redis` and `redis.RedisCluster`."""

    def __init__(
        self,
        redis: Any,
        name: Any,
        timeout: Optional[Number] = None,
        sleep: Number = 0.1,
        blocking: bool = True,
        blocking_timeout: Optional[Number] = None,
        thread_local: bool = True,
        raise_on_release_error: bool = True,
    ) -> None:
        self._begin(
            redis, name, timeout, sleep, blocking, blocking_timeout, thread_local,
            raise_on_release_error,
        )  # fmt: skip

    def acquire(
        self,
        sleep: Optional[Number] = None,
        blocking: Optional[bool] = None,
        blocking_timeout: Optional[Number] = None,
        token: Optional[Any] = None,
    ) -> bool:
        """True once the lock is held, False if it was not granted in time, in seconds."""
        seconds = self._seconds(blocking, blocking_timeout)
        spec = self._spec()
        scope = _sync.Owner(self._locks, self._owner(token))
        lock = _sync_lock.Lock(self._locks, spec, scope)
        try:
            self._took(lock.take(None if math.isinf(seconds) else seconds))
        except errors.NotAcquired:
            return False
        except errors.WrongType as error:
            raise self._not_a_lock(error) from error
        return True

    def locked(self) -> bool:
        """Whether somebody holds the lock."""
        try:
            info = self._locks.info(self._key())
        except errors.WrongType:
            return True
        return info is not None and info.holders_count > 0

    def owned(self) -> bool:
        """Whether this lock object holds the lock."""
        token = self._token()
        return token is not None and self._locks.check(self._key(), token.decode()) is not None

    def release(self) -> None:
        """Gives the lock back. LockNotOwnedError if it had ended before."""
        hold = self._letting_go()
        try:
            hold.release()
        except (errors.NotHeld, errors.WrongType) as error:
            raise self._lost("release") from error

    def extend(self, additional_time: Number, replace_ttl: bool = False) -> Any:
        """Adds to the time that is left, or sets it anew, in seconds."""
        hold = self._timed("extend")
        try:
            left = 0.0
            if not replace_ttl:
                check = hold.check()
                if check is None:
                    raise self._lost("extend")
                left = check.expires_in
            hold.extend(left + additional_time)
        except (errors.NotHeld, errors.WrongType) as error:
            raise self._lost("extend") from error
        return True

    def reacquire(self) -> Any:
        """Makes the time-out start anew."""
        hold = self._timed("reacquire")
        try:
            hold.extend(self.timeout)
        except (errors.NotHeld, errors.WrongType) as error:
            raise self._lost("reacquire") from error
        return True

    def __enter__(self) -> Lock:
        if self.acquire():
            return self
        text = "Unable to acquire lock within the time specified"
        raise _error(LockError, text, self.name)

    def __exit__(
        self,
        exc_type: Optional[type[BaseException]],
        exc_value: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        try:
            self.release()
        except LockError:
            if self.raise_on_release_error:
                raise
            logger.warning("the lock %s was not held any more at the end of its body", self.name)


class AsyncLock(_Common, redis.asyncio.lock.Lock):
    """For `client.lock(name, lock_class=AsyncLock)` of `redis.asyncio`."""

    def __init__(
        self,
        redis: Any,
        name: Any,
        timeout: Optional[Number] = None,
        sleep: Number = 0.1,
        blocking: bool = True,
        blocking_timeout: Optional[Number] = None,
        thread_local: bool = True,
        raise_on_release_error: bool = True,
    ) -> None:
        self._begin(
            redis, name, timeout, sleep, blocking, blocking_timeout, thread_local,
            raise_on_release_error,
        )  # fmt: skip

    async def acquire(
        self,
        blocking: Optional[bool] = None,
        blocking_timeout: Optional[Number] = None,
        token: Optional[Any] = None,
        sleep: Optional[Number] = None,
    ) -> bool:
        """True once the lock is held, False if it was not granted in time, in seconds."""
        seconds = self._seconds(blocking, blocking_timeout)
        spec = self._spec()
        # The owner draws on the running loop's engine.
        scope = aio.Owner(self._locks, self._owner(token))
        lock = aio.Lock(self._locks, spec, scope)
        try:
            self._took(await lock.take(None if math.isinf(seconds) else seconds))
        except errors.NotAcquired:
            return False
        except errors.WrongType as error:
            raise self._not_a_lock(error) from error
        return True

    async def locked(self) -> bool:
        """Whether somebody holds the lock."""
        try:
            info = await self._locks.info(self._key())
        except errors.WrongType:
            return True
        return info is not None and info.holders_count > 0

    async def owned(self) -> bool:
        """Whether this lock object holds the lock."""
        token = self._token()
        if token is None:
            return False
        return await self._locks.check(self._key(), token.decode()) is not None

    async def release(self) -> None:
        """Gives the lock back. LockNotOwnedError if it had ended before."""
        hold = self._letting_go()
        try:
            await hold.release()
        except (errors.NotHeld, errors.WrongType) as error:
            raise self._lost("release") from error

    async def extend(self, additional_time: Number, replace_ttl: bool = False) -> Any:
        """Adds to the time that is left, or sets it anew, in seconds."""
        hold = self._timed("extend")
        try:
            left = 0.0
            if not replace_ttl:
                check = await hold.check()
                if check is None:
                    raise self._lost("extend")
                left = check.expires_in
            await hold.extend(left + additional_time)
        except (errors.NotHeld, errors.WrongType) as error:
            raise self._lost("extend") from error
        return True

    async def reacquire(self) -> Any:
        """Makes the time-out start anew."""
        hold = self._timed("reacquire")
        try:
            await hold.extend(self.timeout)
        except (errors.NotHeld, errors.WrongType) as error:
            raise self._lost("reacquire") from error
        return True

    async def __aenter__(self) -> AsyncLock:
        if await self.acquire():
            return self
        text = "Unable to acquire lock within the time specified"
        raise _error(LockError, text, self.name)

    async def __aexit__(
        self,
        exc_type: Optional[type[BaseException]],
        exc_value: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        try:
            await self.release()
        except LockError:
            if self.raise_on_release_error:
                raise
            logger.warning("the lock %s was not held any more at the end of its body", self.name)
