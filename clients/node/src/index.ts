/** Locks with the redis-lock module, over ioredis or node-redis. */

export type { Acquirer, OnceResult, Work } from './acquirer.js';
export { Lock, ReadWriteLock } from './acquirer.js';
export type { Backend } from './backend.js';
export type { CheckResult, ContendedLock, Holder, LockEntry, LockInfo, Waiter } from './core/reply.js';
export type { Key, Mode } from './core/request.js';
export {
    ClientClosed,
    Deadlock,
    type DeadlockStep,
    LockError,
    type LossReason,
    NoPermission,
    NotAcquired,
    NotDurable,
    NotHeld,
    ServerError,
    TooMany,
    Unreachable,
    WrongType,
} from './errors.js';
export type { AcquiredEvent, LocksEvents, LostEvent, RefusedEvent, ReleasedEvent, RenewedEvent, Stats } from './events.js';
export { Hold, type ReleaseOptions } from './hold.js';
export { Leadership } from './leadership.js';
export { type ElectOptions, type ListOptions, Locks } from './locks.js';
export { type LeaderInfo, Observation } from './observation.js';
export type { KeysOptions, LockOptions, LocksOptions } from './options.js';
export { Owner } from './owner-scope.js';
