import type { Key } from './core/request.js';
import { NotAcquired, NotHeld } from './errors.js';
import type { Hold } from './hold.js';
import type { KeysOptions, LockOptions } from './options.js';

/** What to do while the lock is held. */
export type Work<T> = (hold: Hold) => T | PromiseLike<T>;

/** The work was done, and this is its result; or it was not this process's turn. */
export type OnceResult<T> = { ran: true; value: T } | { ran: false };

/** How {@link Locks} and {@link Owner} take locks. */
export interface Acquirer {
    /**
     * Takes the lock, or several in one step, and waits for it if it is taken. The holder has to release it.
     *
     * @throws {NotAcquired} others held it for the whole time
     * @throws {LockError} another error of this package; or the reason of `signal`
     */
    acquire(key: Key, options?: LockOptions): Promise<Hold>;
    acquire(keys: readonly Key[], options?: KeysOptions): Promise<Hold>;

    /** Takes the lock if it is free. Null if it is taken. */
    tryAcquire(key: Key, options?: Omit<LockOptions, 'timeoutMs'>): Promise<Hold | null>;
    tryAcquire(keys: readonly Key[], options?: Omit<KeysOptions, 'timeoutMs'>): Promise<Hold | null>;

    /**
     * Runs `work` while holding the lock, releases it, and returns what `work` returned.
     *
     * @throws {NotAcquired} `work` did not run
     * @throws {NotHeld} `work` ran to its end, but not under the lock all the time
     */
    using<T>(keys: Key | readonly Key[], work: Work<T>): Promise<T>;
    using<T>(key: Key, options: LockOptions, work: Work<T>): Promise<T>;
    using<T>(keys: readonly Key[], options: KeysOptions, work: Work<T>): Promise<T>;
}

/** The methods that take locks, on top of one that acquires. */
export abstract class AcquirerBase implements Acquirer {
    /** @internal */
    protected abstract take(keys: Key | readonly Key[], options: LockOptions): Promise<Hold>;

    acquire(key: Key, options?: LockOptions): Promise<Hold>;
    acquire(keys: readonly Key[], options?: KeysOptions): Promise<Hold>;
    async acquire(keys: Key | readonly Key[], options: LockOptions = {}): Promise<Hold> {
        return this.take(keys, options);
    }

    tryAcquire(key: Key, options?: Omit<LockOptions, 'timeoutMs'>): Promise<Hold | null>;
    tryAcquire(keys: readonly Key[], options?: Omit<KeysOptions, 'timeoutMs'>): Promise<Hold | null>;
    async tryAcquire(keys: Key | readonly Key[], options: Omit<LockOptions, 'timeoutMs'> = {}): Promise<Hold | null> {
        try {
            return await this.take(keys, { ...options, timeoutMs: 0 });
        } catch (error) {
            if (error instanceof NotAcquired) return null;
            throw error;
        }
    }

    using<T>(keys: Key | readonly Key[], work: Work<T>): Promise<T>;
    using<T>(key: Key, options: LockOptions, work: Work<T>): Promise<T>;
    using<T>(keys: readonly Key[], options: KeysOptions, work: Work<T>): Promise<T>;
    async using<T>(keys: Key | readonly Key[], ...rest: [Work<T>] | [LockOptions, Work<T>]): Promise<T> {
        const [options, work] = rest.length === 1 ? [{}, rest[0]] : rest;
        if (typeof work !== 'function') throw new TypeError('using needs a function to run while the lock is held');
        const hold = await this.take(keys, options);
        return runUnder(hold, work);
    }

    /** One lock under a name, with options for all its acquisitions. */
    lock(key: Key, options: LockOptions = {}): Lock {
        return new Lock(this, key, options);
    }

    /** A lock that many readers hold together, or one writer alone. Readers do not pass a writer that waits. */
    rwlock(key: Key, options: Omit<LockOptions, 'mode' | 'limit' | 'weight'> = {}): ReadWriteLock {
        return new ReadWriteLock(this, key, options);
    }

    /** A lock of `limit` units. Each acquisition takes one of them, or as many as its `weight` says. */
    semaphore(key: Key, limit: number, options: Omit<LockOptions, 'mode' | 'limit'> = {}): Lock {
        return new Lock(this, key, { ...options, mode: 'counted', limit });
    }
}

/** One lock under a name. It can be acquired many times, one after the other or at the same time. */
export class Lock {
    readonly key: Key;
    readonly #by: Acquirer;
    readonly #options: LockOptions;

    /** @internal */
    constructor(by: Acquirer, key: Key, options: LockOptions) {
        this.#by = by;
        this.key = key;
        this.#options = options;
    }

    /** See {@link Acquirer.acquire}. */
    acquire(options: LockOptions = {}): Promise<Hold> {
        return this.#by.acquire(this.key, { ...this.#options, ...options });
    }

    /** See {@link Acquirer.tryAcquire}. */
    tryAcquire(options: Omit<LockOptions, 'timeoutMs'> = {}): Promise<Hold | null> {
        return this.#by.tryAcquire(this.key, { ...this.#options, ...options });
    }

    /** See {@link Acquirer.using}. */
    using<T>(work: Work<T>): Promise<T>;
    using<T>(options: LockOptions, work: Work<T>): Promise<T>;
    using<T>(...rest: [Work<T>] | [LockOptions, Work<T>]): Promise<T> {
        const [options, work] = rest.length === 1 ? [{}, rest[0]] : rest;
        return this.#by.using(this.key, { ...this.#options, ...options }, work);
    }
}

/** A lock that many readers hold together, or one writer alone. */
export class ReadWriteLock {
    /** The lock as readers take it: together with other readers. */
    readonly read: Lock;
    /** The lock as writers take it: alone. */
    readonly write: Lock;

    /** @internal */
    constructor(by: Acquirer, key: Key, options: LockOptions) {
        this.read = new Lock(by, key, { ...options, mode: 'shared' });
        this.write = new Lock(by, key, { ...options, mode: 'exclusive' });
    }
}

async function runUnder<T>(hold: Hold, work: Work<T>): Promise<T> {
    let result: T;
    try {
        result = await work(hold);
    } catch (error) {
        // The error of the work says more than one about the lock.
        await hold.release().catch(() => undefined);
        throw error;
    }
    if (hold.lost) throw new NotHeld(`${hold.keys.map(String).join(', ')} was lost during the work`, hold.lost);
    await hold.release();
    return result;
}
