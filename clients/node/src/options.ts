import { checkTimeout, type Mode, type Wish } from './core/request.js';
import type { AcquireOptions } from './engine/engine.js';

/** The settings of a client. All times are in milliseconds. */
export interface LocksOptions {
    /** Stands first in the names of owners and connections, so that LOCK.INFO tells which application holds a lock. */
    label?: string;
    /** The lease if an acquisition names none, from 1 to 365 days. Default: 30 000. */
    leaseMs?: number;
    /** A server that does not answer for so long is looked at more closely. Default: 1000. */
    requestTimeoutMs?: number;
    /** How often a server at which somebody waits is asked whether it is alive. Default: 2000. */
    probeIntervalMs?: number;
    /**
     * How many acquisitions may wait in the server at a time, each with a connection of its own. The others wait in this
     * process. Default: 1000.
     */
    maxWaits?: number;
    /** How many connections of past waits are kept for later ones. Default: 32. */
    idleConnections?: number;
    /**
     * Waits of this process for one lock stand behind one wait in the server, so that a hot lock costs one waiter for each
     * process. Default: false.
     */
    shareWaits?: boolean;
    /** Let the server tell when a lock changes, so that a loss is known at once. Default: true. */
    tracking?: boolean;
}

/** What to ask for. All times are in milliseconds. */
export interface LockOptions {
    /** How long the hold lasts if this process dies: from 1 to 365 days. Renewed after each third of it. */
    leaseMs?: number | undefined;
    /** How long to wait for the lock. 0 does not wait; left out, it waits without limit. */
    timeoutMs?: number | undefined;
    /** Ends the acquisition, which then throws the signal's reason. It changes nothing once the lock is held. */
    signal?: AbortSignal | undefined;
    /** `exclusive` (the default), `shared`, or `counted` together with `limit`. */
    mode?: Mode | undefined;
    /** Of a counted lock: grant it while the holders have fewer units than this together. 1 to 1 000 000. */
    limit?: number | undefined;
    /** Of a counted lock: how many units to take. 1 (the default) to `limit`. */
    weight?: number | undefined;
    /** The hold also ends as soon as the server learns that this process is dead. It takes a connection of its own. */
    session?: boolean | undefined;
    /** The hold ends at the latest so long after its grant, however often it is extended. */
    maxMs?: number | undefined;
    /** If the hold ends in any other way than by a release, nobody gets the lock for so long. At most an hour. */
    delayMs?: number | undefined;
    /** Whether to renew the lease until the release. Default: true. */
    renew?: boolean | undefined;
    /** How many replicas have to confirm the grant, and within which time (default: 1000 ms). */
    durable?: number | { replicas: number; timeoutMs?: number } | undefined;
}

/** Several keys at a time cannot be counted or delayed. */
export type KeysOptions = Omit<LockOptions, 'limit' | 'weight' | 'delayMs'> & { mode?: 'exclusive' | 'shared' | undefined };

/** Splits the options into what the server and what the client does, and checks the latter. */
export function split(options: LockOptions, defaults: { leaseMs: number }): { wish: Wish; acquire: AcquireOptions } {
    const { durable, timeoutMs, signal, renew, ...wish } = options;
    const acquire: AcquireOptions = { timeoutMs: checkTimeout(timeoutMs), signal, renew: renew ?? true };
    if (durable !== undefined && durable !== 0) {
        const { replicas, timeoutMs: waitMs = 1000 } = typeof durable === 'number' ? { replicas: durable } : durable;
        if (!Number.isInteger(replicas) || replicas < 1) {
            throw new RangeError(`durable must be a number of replicas from 1, not ${String(replicas)}`);
        }
        if (!(waitMs > 0 && waitMs < 2 ** 31)) {
            throw new RangeError(`the time-out of durable must be a number of milliseconds above 0, not ${String(waitMs)}`);
        }
        acquire.durable = { replicas, timeoutMs: waitMs };
    }
    return { wish: { ...wish, leaseMs: wish.leaseMs ?? defaults.leaseMs }, acquire };
}

/** A setting that must be a number in a range. */
export function setting(name: string, value: number | undefined, standard: number, least: number): number {
    if (value === undefined) return standard;
    if (typeof value !== 'number' || !(value >= least)) {
        throw new RangeError(`${name} must be a number from ${least}, not ${String(value)}`);
    }
    return value;
}
