/** Decodes what the server answers to LOCK.CHECK, LOCK.INFO, LOCK.LIST and LOCK.TOP, in RESP2 and RESP3. */

import type { Mode } from './request.js';

/** What LOCK.CHECK says of a hold. */
export interface CheckResult {
    fence: number;
    /** The milliseconds that are left of the lease. */
    ttlMs: number;
    /** How many clients wait for the lock. */
    waiters: number;
}

/** A holder, as LOCK.INFO shows it. Times are in milliseconds. */
export interface Holder {
    owner: string;
    fence: number;
    ttlMs: number;
    heldMs: number;
    /** The limit of a counted hold, or 0. */
    limit: number;
    /** The units that the hold takes. */
    weight: number;
    /** The id of the connection that the hold is bound to, or 0. */
    session: number;
    /** What is left until `maxMs` ends the hold, or 0. */
    maxMs: number;
}

/** A client that waits, as LOCK.INFO shows it. */
export interface Waiter {
    owner: string;
    mode: Mode;
    waitedMs: number;
    /** The id of its connection. */
    client: number;
}

/** What LOCK.INFO says of a lock. */
export interface LockInfo {
    mode: 'exclusive' | 'shared' | 'cooling' | 'free';
    holdersCount: number;
    /** The first 100 holders. */
    holders: Holder[];
    /** How many clients wait. */
    waiters: number;
    /** The first 10 waiters. */
    queue: Waiter[];
    /** The milliseconds of cooling that are left, or 0. */
    coolingMs: number;
}

/** A lock, as LOCK.LIST and LOCK.TOP show it. */
export interface LockEntry {
    key: string;
    mode: LockInfo['mode'];
    /** One holder. Empty if nobody holds the lock. */
    owner: string;
    holdersCount: number;
    fence: number;
    ttlMs: number;
    heldMs: number;
    waiters: number;
}

/** A lock that clients wait for, as LOCK.TOP shows it. */
export interface ContendedLock extends LockEntry {
    /** How long the first waiter has waited. */
    waitedMs: number;
    /** The first 3 waiters. */
    queue: Waiter[];
}

export function decodeCheck(reply: unknown): CheckResult | null {
    if (!Array.isArray(reply)) return null;
    return { fence: Number(reply[0]), ttlMs: Number(reply[1]), waiters: Number(reply[2] ?? 0) };
}

export function decodeInfo(reply: unknown): LockInfo | null {
    if (reply === null || reply === undefined) return null;
    const info = fields(reply);
    return {
        mode: text(info.get('mode')) as LockInfo['mode'],
        holdersCount: number(info.get('holders-count')),
        holders: list(info.get('holders')).map((it) => {
            const holder = fields(it);
            return {
                owner: text(holder.get('owner')),
                fence: number(holder.get('fence')),
                ttlMs: number(holder.get('ttl')),
                heldMs: number(holder.get('held')),
                limit: number(holder.get('limit')),
                weight: number(holder.get('weight')),
                session: number(holder.get('session')),
                maxMs: number(holder.get('max')),
            };
        }),
        waiters: number(info.get('waiters')),
        queue: list(info.get('queue')).map(waiter),
        coolingMs: number(info.get('cooling')),
    };
}

/** The next cursor and the locks of one page. */
export function decodeList(reply: unknown): { cursor: string; locks: LockEntry[] } {
    const [cursor, locks] = list(reply);
    return { cursor: text(cursor), locks: list(locks).map((it) => entry(fields(it))) };
}

export function decodeTop(reply: unknown): ContendedLock[] {
    return list(reply).map((it) => {
        const lock = fields(it);
        return { ...entry(lock), waitedMs: number(lock.get('waited')), queue: list(lock.get('queue')).map(waiter) };
    });
}

function entry(lock: Map<string, unknown>): LockEntry {
    return {
        key: text(lock.get('key')),
        mode: text(lock.get('mode')) as LockInfo['mode'],
        owner: text(lock.get('owner')),
        holdersCount: number(lock.get('holders-count')),
        fence: number(lock.get('fence')),
        ttlMs: number(lock.get('ttl')),
        heldMs: number(lock.get('held')),
        waiters: number(lock.get('waiters')),
    };
}

function waiter(reply: unknown): Waiter {
    const it = fields(reply);
    return {
        owner: text(it.get('owner')),
        mode: text(it.get('mode')) as Mode,
        waitedMs: number(it.get('waited')),
        client: number(it.get('client')),
    };
}

/** The fields of a map: a flat array in RESP2, a Map or an object in RESP3. */
function fields(reply: unknown): Map<string, unknown> {
    if (reply instanceof Map) return new Map([...reply].map(([name, value]) => [text(name), value as unknown]));
    if (Array.isArray(reply)) {
        const map = new Map<string, unknown>();
        for (let at = 0; at + 1 < reply.length; at += 2) map.set(text(reply[at]), reply[at + 1]);
        return map;
    }
    return new Map(Object.entries((reply ?? {})));
}

function list(reply: unknown): unknown[] {
    return Array.isArray(reply) ? reply : [];
}

function text(value: unknown): string {
    if (typeof value === 'string') return value;
    return Buffer.isBuffer(value) || typeof value === 'number' ? value.toString() : '';
}

function number(value: unknown): number {
    return Number(value ?? 0);
}
