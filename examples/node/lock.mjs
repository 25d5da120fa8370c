// A lock for Node over the LOCK.* commands of redis-lock. Copy this file and that of your client: ioredis.mjs or
// node-redis.mjs, which exports `withLock(client, key, options, work)`.

import { randomUUID } from 'node:crypto';

/** The lock was busy for as long as the caller was ready to wait. */
export class NotAcquired extends Error {
    name = 'NotAcquired';
}

/** The hold ended before the work did: its lease ran out, or an operator removed it. */
export class NotHeld extends Error {
    name = 'NotHeld';
}

/**
 * What a client of Redis has to offer. Both files beside this one do.
 *
 * @typedef {object} Connections
 * @property {(args: string[]) => Promise<unknown>} send one command on the connection that the whole process shares
 * @property {(timeoutMs: number) => { send: (args: string[]) => Promise<unknown>, close: () => void }} dedicated
 *   a connection of its own, which gives up when a command has had no answer for so long
 */

/**
 * @typedef {object} LockOptions
 * @property {number} [leaseMs] the hold ends so long after the process has died; renewed at every third of it
 * @property {number} [waitMs] how long to wait in line; 0: do not wait
 * @property {AbortSignal} [signal] withdraws the request; once the lock is granted it changes nothing
 */

/** How long an answer may be late before the connection of a wait is given up. */
const ANSWER_MS = 5_000;

/**
 * Runs `work` while holding the lock, and returns what it returns.
 *
 * @template T
 * @param {Connections} redis
 * @param {string} key
 * @param {LockOptions} options
 * @param {(hold: Hold) => T | Promise<T>} work
 * @returns {Promise<T>}
 * @throws {NotAcquired} `work` did not run
 * @throws {NotHeld} `work` ran to its end, but not under the lock all the time
 */
export async function withLock(redis, key, { leaseMs = 30_000, waitMs = 0, signal }, work) {
    const hold = await acquire(redis, key, leaseMs, waitMs, signal);
    let result;
    let released;
    try {
        result = await work(hold);
    } finally {
        released = await hold.release();
    }
    if (!released) throw new NotHeld(`the hold of ${key} was lost`);
    return result;
}

/**
 * @param {Connections} redis
 * @param {string} key
 * @param {number} leaseMs
 * @param {number} waitMs
 * @param {AbortSignal | undefined} signal
 */
async function acquire(redis, key, leaseMs, waitMs, signal) {
    signal?.throwIfAborted();
    // Each acquisition has an owner of its own. Clients send a command again when its answer was lost; the server takes
    // that for the same request, and an old duplicate cannot touch anybody's hold.
    const owner = randomUUID();
    const request = ['LOCK.ACQUIRE', key, owner, 'PX', String(leaseMs)];
    try {
        // A free lock takes one round trip and no second connection. Who finds it busy loses no place in line by that.
        const askedAt = performance.now();
        let fence = await unlessAborted(redis.send(request), signal);
        if (fence !== null) return new Hold(redis, key, owner, leaseMs, Number(fence), askedAt);
        if (waitMs > 0) fence = await waitInLine(redis, [...request, 'BLOCK', String(waitMs)], waitMs, signal);
        if (fence !== null) return new Hold(redis, key, owner, leaseMs, Number(fence));
    } catch (error) {
        // The server may still have the request in line, or have granted it in the meantime.
        redis.send(['LOCK.RELEASE', key, owner]).catch(() => {});
        throw error;
    }
    throw new NotAcquired(waitMs > 0 ? `${key} was busy for ${waitMs} ms` : `${key} is busy`);
}

/**
 * Waits on a connection of its own: all that is sent on a connection behind a waiting command is answered after it, and
 * in Node one connection carries the commands of the whole process.
 *
 * @param {Connections} redis
 * @param {string[]} request
 * @param {number} waitMs
 * @param {AbortSignal | undefined} signal
 */
async function waitInLine(redis, request, waitMs, signal) {
    const connection = redis.dedicated(waitMs + ANSWER_MS);
    try {
        return await unlessAborted(connection.send(request), signal);
    } finally {
        connection.close();
    }
}

/** What `work` is given. */
export class Hold {
    /**
     * Sent along with every write to the resource, which remembers the largest it saw and rejects smaller ones: that
     * protects it from a process that was stopped for longer than its lease.
     *
     * @readonly
     */
    fence;

    #lost = new AbortController();
    /**
     * Aborted as soon as the hold is known to be lost, or cannot be known to last: stop working then.
     *
     * @readonly
     */
    signal = this.#lost.signal;

    #redis;
    #key;
    #owner;
    #leaseMs;
    #ending = false;
    /** @type {NodeJS.Timeout | undefined} */
    #end;
    /** @type {NodeJS.Timeout | undefined} */
    #renewal;

    /**
     * @param {Connections} redis
     * @param {string} key
     * @param {string} owner
     * @param {number} leaseMs
     * @param {number} fence
     * @param {number} [askedAt] when the request left; unknown for a wait, where the grant came at some time after it
     */
    constructor(redis, key, owner, leaseMs, fence, askedAt) {
        this.#redis = redis;
        this.#key = key;
        this.#owner = owner;
        this.#leaseMs = leaseMs;
        this.fence = fence;
        this.#lastsFrom(askedAt ?? performance.now());
        // The answer to a wait may have lain in a busy process for a while, with the lease running: ask at once.
        this.#renewal = setTimeout(() => this.#renew(), askedAt === undefined ? 0 : leaseMs / 3);
    }

    /**
     * Ends the hold.
     *
     * @returns whether it lasted until now
     */
    async release() {
        this.#ending = true;
        clearTimeout(this.#renewal);
        const answer = this.#redis.send(['LOCK.RELEASE', this.#key, this.#owner]);
        // Without an answer the lease ends the hold, so nobody waits for one longer than that. (The second answer to a
        // release that the client sent twice is 0 as well: then a hold that lasted passes for a lost one.)
        const lasted = !this.signal.aborted;
        const released = await unlessAborted(answer, this.signal).then(Number, () => 1);
        clearTimeout(this.#end);
        return lasted && released === 1;
    }

    /** Tells a lost hold at once; when no answer came, the next try or the lease's end does. */
    async #renew() {
        const sentAt = performance.now();
        const extend = ['LOCK.EXTEND', this.#key, this.#owner, 'PX', String(this.#leaseMs)];
        const extended = await this.#redis.send(extend).then(Number, () => undefined);
        if (this.#ending || this.signal.aborted) return;
        if (extended === 0) return this.#lose();
        if (extended === 1) this.#lastsFrom(sentAt);
        this.#renewal = setTimeout(() => this.#renew(), this.#leaseMs / 3);
    }

    /**
     * The server began the lease at `startMs` or later, so until a lease after that the hold is sure.
     *
     * @param {number} startMs
     */
    #lastsFrom(startMs) {
        clearTimeout(this.#end);
        this.#end = setTimeout(() => this.#lose(), startMs + this.#leaseMs - performance.now());
    }

    #lose() {
        clearTimeout(this.#end);
        clearTimeout(this.#renewal);
        this.#lost.abort(new NotHeld(`the hold of ${this.#key} was lost`));
    }
}

/**
 * What the promise settles with, or the signal's reason if the signal comes first.
 *
 * @param {Promise<unknown>} promise
 * @param {AbortSignal | undefined} signal
 */
async function unlessAborted(promise, signal) {
    if (!signal) return promise;
    /** @type {() => void} */
    let abort = () => {};
    const aborted = new Promise((_, reject) => {
        abort = () => reject(signal.reason);
    });
    if (signal.aborted) abort();
    signal.addEventListener('abort', abort);
    try {
        return await Promise.race([promise, aborted]);
    } finally {
        signal.removeEventListener('abort', abort);
    }
}
