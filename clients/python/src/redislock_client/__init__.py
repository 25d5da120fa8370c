"""Locks of the redis-lock module, over redis-py.

    locks = Locks(redis.Redis(), label="orders")
    with locks.lock("orders:42", lease=10, timeout=5) as hold:
        save(fence=hold.fence)

`redislock_client.aio` has the same for asyncio, `redislock_client.fake` runs without a server, and
`redislock_client.redis_py` has the interface of redis-py's own Lock.
"""

from ._core import Check, Holder, LockEntry, LockInfo, Waiter
from ._dial import VERSION as __version__
from ._sync import Leader, Locks, Observation, Once, Owner
from ._sync_lock import Cancellation, Hold, Lock, ReadWriteLock
from .errors import (
    Cancelled,
    ClientClosed,
    Deadlock,
    LockError,
    NoPermission,
    NotAcquired,
    NotDurable,
    NotHeld,
    ServerError,
    TooMany,
    Unreachable,
    WrongType,
)
from .hooks import Hooks

__all__ = [
    "Cancellation",
    "Cancelled",
    "Check",
    "ClientClosed",
    "Deadlock",
    "Hold",
    "Holder",
    "Hooks",
    "Leader",
    "Lock",
    "LockEntry",
    "LockError",
    "LockInfo",
    "Locks",
    "NoPermission",
    "NotAcquired",
    "NotDurable",
    "NotHeld",
    "Observation",
    "Once",
    "Owner",
    "ReadWriteLock",
    "ServerError",
    "TooMany",
    "Unreachable",
    "Waiter",
    "WrongType",
    "__version__",
]
