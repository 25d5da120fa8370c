import { AcquirerBase, type OnceResult, type Work } from './acquirer.js';
import type { Backend } from './backend.js';
import { leaseClock } from './core/clock.js';
import { connectionName, newOwner, ownerPrefix } from './core/owner.js';
import {
    type CheckResult,
    type ContendedLock,
    decodeCheck,
    decodeInfo,
    decodeList,
    decodeTop,
    type LockEntry,
    type LockInfo,
} from './core/reply.js';
import { type Arg, DEFAULT_LEASE_MS, type Key, milliseconds, Request } from './core/request.js';
import { keySlot } from './core/slot.js';
import { Engine } from './engine/engine.js';
import { Keeper } from './engine/keeper.js';
import { fromServer, Unreachable } from './errors.js';
import { LocksEmitter, type LocksEvents, type Stats } from './events.js';
import { Hold, type HoldHome } from './hold.js';
import { Leadership } from './leadership.js';
import { LinkError, ReplyError } from './net/link.js';
import { makeRouter } from './net/router.js';
import type { NodeContext } from './net/server-node.js';
import { Observation } from './observation.js';
import { type LockOptions, type LocksOptions, setting, split } from './options.js';
import { Owner } from './owner-scope.js';
import { asyncDispose } from './signal.js';
import { withTimeout } from './net/timeout.js';

/** How long `close` waits for servers. Milliseconds. */
const CLOSE_MS = 3000;

/** Filters of {@link Locks.list}. */
export interface ListOptions {
    /** Only locks whose key matches this pattern, as in SCAN. */
    match?: string;
    /** Only locks that this owner holds. */
    owner?: string;
    /** How many locks one request looks at: 1 to 1000. Default: 100. */
    count?: number;
}

/** How to become the leader. All times are in milliseconds. */
export interface ElectOptions {
    /** How long a leader whose machine vanished blocks the others. Default: that of the client. */
    leaseMs?: number;
    /** How long to wait for the leadership. Left out, it waits without limit. */
    timeoutMs?: number;
    /** Ends the candidacy. */
    signal?: AbortSignal;
    /** The next one leads as soon as the server learns that this process is dead. Default: true. */
    session?: boolean;
}

/**
 * Locks of the servers that a Redis client is connected to.
 *
 * Emits `acquired`, `refused`, `released`, `renewed` and `lost`. The same events of all clients of the process go to the
 * channels `redis-lock:acquired` and so on of `node:diagnostics_channel`.
 */
export class Locks extends AcquirerBase {
    readonly #events = new LocksEmitter();
    readonly #prefix: string;
    readonly #leaseMs: number;
    readonly #requestTimeoutMs: number;
    readonly #engine: Engine;
    readonly #keeper: Keeper;
    readonly #home: HoldHome;
    readonly #holds = new Set<Hold>();
    #opened = 0;
    #closing: Promise<void> | undefined;

    constructor(backend: Backend, options: LocksOptions = {}) {
        super();
        this.#prefix = ownerPrefix(options.label);
        this.#leaseMs = setting('leaseMs', options.leaseMs, DEFAULT_LEASE_MS, 1);
        this.#requestTimeoutMs = setting('requestTimeoutMs', options.requestTimeoutMs, 1000, 1);
        const context: NodeContext = {
            dialer: backend.dialer,
            name: connectionName(this.#prefix),
            requestTimeoutMs: this.#requestTimeoutMs,
            probeIntervalMs: setting('probeIntervalMs', options.probeIntervalMs, 2000, 1),
            idleLinks: setting('idleConnections', options.idleConnections, 32, 0),
            tracking: options.tracking ?? true,
            opened: () => this.#opened++,
            invalidated: (node, keys) => this.#keeper.invalidated(node, keys),
            hung: (node) => this.#engine.router.doubt(node),
        };
        this.#engine = new Engine(makeRouter(backend.target, context), {
            requestTimeoutMs: this.#requestTimeoutMs,
            maxWaits: setting('maxWaits', options.maxWaits, 1000, 1),
            shareWaits: options.shareWaits ?? false,
        });
        this.#keeper = new Keeper(this.#engine, ({ request, fence }) =>
            this.#events.tell('renewed', { keys: request.keys.map(String), owner: request.owner, fence }),
        );
        this.#home = {
            engine: this.#engine,
            keeper: this.#keeper,
            requestTimeoutMs: this.#requestTimeoutMs,
            left: (hold, released) => this.#left(hold, released),
        };
    }

    /** Calls `listener` at each event of this name. */
    on<E extends keyof LocksEvents>(event: E, listener: (event: LocksEvents[E]) => void): this {
        this.#events.on(event, listener);
        return this;
    }

    /** Calls `listener` at the next event of this name. */
    once<E extends keyof LocksEvents>(event: E, listener: (event: LocksEvents[E]) => void): this {
        this.#events.once(event, listener);
        return this;
    }

    /** Takes back what `on` or `once` did. */
    off<E extends keyof LocksEvents>(event: E, listener: (event: LocksEvents[E]) => void): this {
        this.#events.off(event, listener);
        return this;
    }

    /** @internal */
    protected take(keys: Key | readonly Key[], options: LockOptions): Promise<Hold> {
        return this.takeAs(newOwner(this.#prefix), keys, options);
    }

    /** @internal Acquires under the name of this owner. */
    async takeAs(owner: string, keys: Key | readonly Key[], options: LockOptions): Promise<Hold> {
        const { wish, acquire } = split(options, { leaseMs: this.#leaseMs });
        const request = new Request(keys, owner, wish);
        const began = leaseClock.rough();
        try {
            const granted = await this.#engine.acquire(request, acquire);
            const hold = new Hold(granted, this.#home);
            if (!granted.state.ended) this.#holds.add(hold);
            // It was closed in the same moment.
            if (this.#closing) hold.abandon();
            const waitedMs = leaseClock.rough() - began;
            this.#events.tell('acquired', { keys: request.keys.map(String), owner, fence: hold.fence, waitedMs });
            return hold;
        } catch (error) {
            const waitedMs = leaseClock.rough() - began;
            this.#events.tell('refused', { keys: request.keys.map(String), owner, waitedMs, error });
            throw error;
        }
    }

    #left(hold: Hold, released: boolean): void {
        this.#holds.delete(hold);
        const event = { keys: hold.keys.map(String), owner: hold.owner, fence: hold.fence, heldMs: hold.heldMs };
        if (released) this.#events.tell('released', event);
        else this.#events.tell('lost', { ...event, reason: hold.lost ?? 'gone' });
    }

    /**
     * A name under which several locks are taken, so that the server can find deadlocks among them. Without `name` it gets
     * one that nobody else has. Several processes that use one name are one owner to the server.
     */
    owner(name?: string): Owner {
        return new Owner(this, name ?? newOwner(this.#prefix));
    }

    /**
     * Runs `work` unless somebody runs it now, or ran it less than `periodMs` ago, on whatever machine. The period is
     * counted from the beginning of the work. If `work` throws, somebody else may try at once.
     */
    async oncePer<T>(key: Key, periodMs: number, work: Work<T>, options: LockOptions = {}): Promise<OnceResult<T>> {
        milliseconds('periodMs', periodMs, 365 * 24 * 3_600_000);
        const began = leaseClock.rough();
        const hold = await this.tryAcquire(key, options);
        if (!hold) return { ran: false };
        let value: T;
        try {
            value = await work(hold);
        } catch (error) {
            await hold.release().catch(() => undefined);
            throw error;
        }
        const leftMs = periodMs - (leaseClock.rough() - began);
        await hold.release(leftMs > 0 ? { coolMs: leftMs } : {});
        return { ran: true, value };
    }

    /** Waits until this process leads. Throws the same errors as {@link acquire}. */
    async elect(key: Key, options: ElectOptions = {}): Promise<Leadership> {
        const hold = await this.acquire(key, { session: true, ...options });
        return new Leadership(hold);
    }

    /** Tells who leads, and each change of it. Resolves as soon as the first is known. */
    observe(key: Key, options: { signal?: AbortSignal } = {}): Promise<Observation> {
        this.#engine.checkOpen();
        return Observation.start(this.#keeper, key, options.signal);
    }

    /** What the server knows of a hold: its fence, what is left of its lease, and how many clients wait. Null if it ended. */
    async check(key: Key, owner: string): Promise<CheckResult | null> {
        return decodeCheck(await this.#ask(key, ['LOCK.CHECK', key, owner, 'WAITERS']));
    }

    /** Who holds the lock, and who waits for it. Null if it is free and nobody waits. */
    async info(key: Key): Promise<LockInfo | null> {
        return decodeInfo(await this.#ask(key, ['LOCK.INFO', key]));
    }

    /** All locks; in a cluster those of all nodes. A lock that is there all the time is told, perhaps twice. */
    async *list(options: ListOptions = {}): AsyncGenerator<LockEntry, void, undefined> {
        const filters: Arg[] = ['COUNT', options.count ?? 100];
        if (options.match !== undefined) filters.push('MATCH', options.match);
        if (options.owner !== undefined) filters.push('OWNER', options.owner);
        for (const node of await this.#primaries()) {
            let cursor = '0';
            do {
                const page = decodeList(await this.#direct(node.request(['LOCK.LIST', cursor, ...filters])));
                yield* page.locks;
                cursor = page.cursor;
            } while (cursor !== '0');
        }
    }

    /** The locks that most clients wait for, or whose first waiter has waited longest. */
    async top(options: { count?: number; by?: 'waiters' | 'waited' } = {}): Promise<ContendedLock[]> {
        const { count = 10, by = 'waiters' } = options;
        const nodes = await this.#primaries();
        const command = ['LOCK.TOP', 'COUNT', count, 'BY', by.toUpperCase()];
        const locks = await Promise.all(nodes.map(async (node) => decodeTop(await this.#direct(node.request(command)))));
        const worth = (lock: ContendedLock): number => (by === 'waiters' ? lock.waiters : lock.waitedMs);
        return locks
            .flat()
            .sort((a, b) => worth(b) - worth(a))
            .slice(0, count);
    }

    /** Counts of what this client did. */
    get stats(): Stats {
        return { ...this.#events.counts, holds: this.#holds.size, connectionsOpened: this.#opened };
    }

    async #primaries(): ReturnType<Engine['router']['primaries']> {
        this.#engine.checkOpen();
        return this.#direct(this.#engine.router.primaries());
    }

    async #ask(key: Key, args: Arg[]): Promise<unknown> {
        this.#engine.checkOpen();
        const { reply } = await this.#direct(this.#engine.command(keySlot(key), args, 5 * this.#requestTimeoutMs));
        return reply;
    }

    async #direct<T>(answer: Promise<T>): Promise<T> {
        try {
            return await withTimeout(answer, 6 * this.#requestTimeoutMs);
        } catch (error) {
            if (error instanceof ReplyError) throw fromServer(error.text);
            if (error instanceof LinkError) throw new Unreachable(error.message, { cause: error });
            throw error;
        }
    }

    /**
     * Ends all acquisitions with {@link ClientClosed}, releases all holds, and closes the connections. It waits some seconds
     * at most for servers that do not answer: their leases end the holds.
     */
    close(): Promise<void> {
        this.#closing ??= this.#close();
        return this.#closing;
    }

    async #close(): Promise<void> {
        this.#engine.stop();
        for (const hold of [...this.#holds]) hold.abandon();
        this.#keeper.close();
        // What was sent is followed by a RELEASE, and that has to be written before the connections close.
        await new Promise((resolve) => setImmediate(resolve));
        await withTimeout(this.#engine.settled(), CLOSE_MS).catch(() => undefined);
        this.#engine.end();
    }

    [asyncDispose](): Promise<void> {
        return this.close();
    }
}
