import { keySlot } from './slot.js';

/** The name of a lock. A Buffer can hold any bytes. */
export type Key = string | Buffer;

/** An argument of a command. */
export type Arg = string | Buffer | number;

/** How the lock is held: alone, together with other shared holders, or as some units of a counted lock. */
export type Mode = 'exclusive' | 'shared' | 'counted';

const MAX_LEASE_MS = 365 * 24 * 3_600_000;
const MAX_DELAY_MS = 3_600_000;
const MAX_KEYS = 64;
const MAX_LIMIT = 1_000_000;
/** One request waits at most this long. Then the client sends the next. */
const MAX_BLOCK_MS = 30 * 24 * 3_600_000;

/** The lease if the caller names none, in milliseconds. */
export const DEFAULT_LEASE_MS = 30_000;

/** What the server is asked for. All times are in milliseconds. */
export interface Wish {
    leaseMs?: number | undefined;
    mode?: Mode | undefined;
    limit?: number | undefined;
    weight?: number | undefined;
    session?: boolean | undefined;
    maxMs?: number | undefined;
    delayMs?: number | undefined;
}

/** One acquisition as the server sees it. Builds the commands and checks their ranges; it does no I/O. */
export class Request {
    readonly keys: readonly Key[];
    readonly owner: string;
    readonly leaseMs: number;
    readonly maxMs: number;
    readonly session: boolean;
    readonly mode: Mode;
    /** The slot of the keys in a cluster. */
    readonly slot: number;
    /** The names of the locks, for people. */
    readonly name: string;
    readonly #multi: boolean;
    readonly #options: Arg[];

    constructor(keys: Key | readonly Key[], owner: string, wish: Wish) {
        this.#multi = Array.isArray(keys);
        this.keys = Array.isArray(keys) ? [...(keys as readonly Key[])] : [keys as Key];
        this.owner = owner;
        this.leaseMs = milliseconds('leaseMs', wish.leaseMs ?? DEFAULT_LEASE_MS, MAX_LEASE_MS);
        this.maxMs = wish.maxMs === undefined ? 0 : milliseconds('maxMs', wish.maxMs, MAX_LEASE_MS);
        this.session = wish.session ?? false;
        this.mode = wish.mode ?? (wish.limit === undefined ? 'exclusive' : 'counted');
        this.name = this.keys.map(String).join(', ');
        this.#options = this.#build(wish);
        this.slot = keySlot(this.keys[0] as Key);
    }

    #build(wish: Wish): Arg[] {
        if (this.keys.length < 1 || this.keys.length > MAX_KEYS) {
            throw new RangeError(`the number of keys must be from 1 to ${MAX_KEYS}, not ${this.keys.length}`);
        }
        for (const key of this.keys) {
            if (typeof key !== 'string' && !Buffer.isBuffer(key)) throw new TypeError('a key must be a string or a Buffer');
        }
        if (!['exclusive', 'shared', 'counted'].includes(this.mode)) {
            throw new TypeError(`mode must be exclusive, shared or counted, not ${String(this.mode)}`);
        }
        const args: Arg[] = [];
        if (this.mode !== 'exclusive') args.push('SHARED');
        if (this.mode === 'counted') {
            if (this.#multi) throw new TypeError('a counted lock cannot be one of several keys');
            const limit = count('limit', wish.limit, MAX_LIMIT);
            args.push('LIMIT', limit);
            if (wish.weight !== undefined) args.push('WEIGHT', count('weight', wish.weight, limit));
        } else if (wish.limit !== undefined || wish.weight !== undefined) {
            throw new TypeError('limit and weight are for counted locks');
        }
        if (this.session) args.push('SESSION');
        if (this.maxMs > 0) args.push('MAX', this.maxMs);
        if (wish.delayMs !== undefined) {
            if (this.#multi || this.mode !== 'exclusive') throw new TypeError('delayMs is for one exclusive lock');
            args.push('DELAY', milliseconds('delayMs', wish.delayMs, MAX_DELAY_MS));
        }
        return args;
    }

    /** The acquisition. Without `blockMs` it does not wait; `Infinity` waits without limit. */
    acquire(blockMs?: number): Arg[] {
        const args: Arg[] = [...this.#head('ACQUIRE'), 'PX', this.leaseMs];
        if (blockMs !== undefined) {
            args.push('BLOCK', blockMs === Infinity ? 0 : Math.max(1, Math.ceil(Math.min(blockMs, MAX_BLOCK_MS))));
        }
        return [...args, ...this.#options];
    }

    /** Ends whatever this owner holds, and cancels what it waits for. */
    withdraw(): Arg[] {
        return this.#head('RELEASE');
    }

    release(fence: number, coolMs?: number): Arg[] {
        if (this.#multi) {
            if (coolMs !== undefined) throw new TypeError('coolMs is for one exclusive lock');
            return this.withdraw();
        }
        const cool = coolMs === undefined ? [] : ['COOL', milliseconds('coolMs', coolMs, MAX_LEASE_MS)];
        return [...this.withdraw(), 'FENCE', fence, ...cool];
    }

    downgrade(fence: number): Arg[] {
        if (this.#multi) throw new TypeError('several locks that were taken together cannot be downgraded');
        return [...this.withdraw(), 'FENCE', fence, 'DOWNGRADE'];
    }

    extend(fence: number, leaseMs: number): Arg[] {
        const lease = ['PX', milliseconds('leaseMs', leaseMs, MAX_LEASE_MS)];
        return this.#multi ? [...this.#head('EXTEND'), ...lease] : [...this.#head('EXTEND'), ...lease, 'FENCE', fence];
    }

    /** One question for each key. */
    checks(): Arg[][] {
        return this.keys.map((key) => ['LOCK.CHECK', key, this.owner]);
    }

    /** The fences of a grant, in the order of the keys. */
    fences(reply: unknown): number[] {
        const fences = (Array.isArray(reply) ? reply : [reply]).map(Number);
        if (fences.length !== this.keys.length || !fences.every(Number.isSafeInteger)) {
            throw new TypeError(`the server answered LOCK.ACQUIRE with ${JSON.stringify(reply)}`);
        }
        return fences;
    }

    #head(verb: string): Arg[] {
        return this.#multi
            ? [`LOCK.M${verb}`, this.keys.length, ...this.keys, this.owner]
            : [`LOCK.${verb}`, this.keys[0] as Key, this.owner];
    }
}

/** A time in whole milliseconds. Throws a RangeError if it is not above 0 and at most `max`. */
export function milliseconds(name: string, value: number, max: number): number {
    if (typeof value !== 'number' || !(value > 0 && value <= max)) {
        throw new RangeError(`${name} must be a number of milliseconds above 0 and at most ${max}, not ${String(value)}`);
    }
    return Math.ceil(value);
}

/** How long a caller waits. `undefined` means without limit. */
export function checkTimeout(timeoutMs: number | undefined): number {
    if (timeoutMs === undefined) return Infinity;
    if (typeof timeoutMs !== 'number' || !(timeoutMs >= 0)) {
        throw new RangeError(`timeoutMs must be a number of milliseconds from 0, not ${String(timeoutMs)}`);
    }
    return timeoutMs;
}

function count(name: string, value: number | undefined, max: number): number {
    if (value === undefined || !Number.isInteger(value) || value < 1 || value > max) {
        throw new RangeError(`${name} must be an integer from 1 to ${max}, not ${String(value)}`);
    }
    return value;
}

/** A key as it is compared and kept in maps, whether it came as a string or as bytes. */
export function keyId(key: Key): string {
    return (typeof key === 'string' ? Buffer.from(key) : key).toString('latin1');
}
