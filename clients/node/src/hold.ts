import { leaseClock } from './core/clock.js';
import type { HoldState } from './core/hold-state.js';
import { type CheckResult, decodeCheck } from './core/reply.js';
import type { Key, Mode } from './core/request.js';
import { fromServer, NotHeld, Unreachable } from './errors.js';
import type { Engine, Granted } from './engine/engine.js';
import type { Keeper } from './engine/keeper.js';
import { type Link, LinkError, ReplyError } from './net/link.js';
import { asyncDispose, LeaseSignal } from './signal.js';

/** What a hold needs of the client that it belongs to. */
export interface HoldHome {
    readonly engine: Engine;
    readonly keeper: Keeper;
    readonly requestTimeoutMs: number;
    /** The hold ended. */
    left(hold: Hold, released: boolean): void;
}

/** How to release. */
export interface ReleaseOptions {
    /** Nobody gets the lock for so many milliseconds afterwards: from 1 to 365 days, for one exclusive lock. */
    coolMs?: number | undefined;
}

/**
 * A lock that is held, or several that were taken together.
 *
 * It is renewed in the background until it is released or lost. Release it with {@link release}, or let `await using` do
 * so.
 */
export class Hold {
    /** The locks, in the order in which they were asked for. */
    readonly keys: readonly Key[];
    /** The name under which the server knows the holder. */
    readonly owner: string;
    /** The fencing tokens, one for each key. */
    readonly fences: readonly number[];
    /**
     * Aborted when the hold is lost, with a {@link NotHeld} as its reason. Reading it looks at the clock, so it is right
     * also if the event loop was blocked for longer than the lease.
     */
    readonly signal: AbortSignal;
    readonly #state: HoldState;
    readonly #home: HoldHome;
    readonly #session: Link | undefined;
    readonly #strayAt: number | undefined;
    readonly #endListeners: (() => void)[] = [];
    #mode: Mode;
    #release: Promise<void> | undefined;

    /** @internal */
    constructor(granted: Granted, home: HoldHome) {
        const { state } = granted;
        this.#state = state;
        this.#home = home;
        this.#session = granted.session;
        this.#strayAt = granted.strayAt;
        this.#mode = state.request.mode;
        this.keys = state.request.keys;
        this.owner = state.request.owner;
        this.fences = state.fences;
        const signal = new LeaseSignal(() => state.look());
        this.signal = signal.signal;
        state.onLost((reason) => {
            home.keeper.remove(state);
            signal.abort(this.#notHeld());
            this.#left(false);
            // The server may still have it, or the others of several locks. Nobody should have to wait for them.
            if (reason === 'gone' && this.keys.length === 1) this.#session?.close();
            else this.#giveUp();
        });
        this.#session?.onClosed(() => state.lose('gone'));
        home.keeper.add(state);
    }

    /** The first of the locks. */
    get key(): Key {
        return this.keys[0] as Key;
    }

    /**
     * The fencing token: a number that rises with every grant. Send it along with every write to the resource, which
     * rejects writes that carry a smaller one than it has seen.
     */
    get fence(): number {
        return this.#state.fence;
    }

    /** How it is held. */
    get mode(): Mode {
        return this.#mode;
    }

    /** Whether the lock is still held, as far as this client knows. Looks at the clock; false in doubt. */
    get held(): boolean {
        return this.#state.held;
    }

    /** How many milliseconds of the lease are left for certain. */
    get remainingMs(): number {
        return this.#state.remainingMs;
    }

    /** How many milliseconds it has been held. */
    get heldMs(): number {
        return leaseClock.rough() - this.#state.since;
    }

    /** Why it was lost, if it was. */
    get lost(): NotHeld['reason'] | undefined {
        this.#state.look();
        return this.#state.lost;
    }

    /** Throws {@link NotHeld} if the hold has ended. */
    assertHeld(): void {
        if (!this.#state.held) throw this.#notHeld();
    }

    /**
     * Gives the hold a new lease that begins now: `leaseMs` milliseconds, or as long as the last one.
     *
     * @throws {NotHeld} it was lost
     */
    async extend(leaseMs: number = this.#state.leaseMs): Promise<void> {
        this.assertHeld();
        const { request } = this.#state;
        const args = request.extend(this.fence, leaseMs);
        const { reply, sentAt } = await this.#command(args, this.#state.remainingMs);
        if (Number(reply) !== request.keys.length) {
            this.#state.lose('gone');
            throw this.#notHeld();
        }
        this.#state.extended(sentAt, Math.ceil(leaseMs));
        this.#home.keeper.changed(this.#state);
    }

    /**
     * Asks the server what is left of the lease, and how many clients wait. Null if the hold has ended. With several keys
     * it is the least of them.
     */
    async check(): Promise<CheckResult | null> {
        const { request } = this.#state;
        const results: CheckResult[] = [];
        for (const [at, check] of request.checks().entries()) {
            const { reply, sentAt } = await this.#command([...check, 'WAITERS'], 5 * this.#home.requestTimeoutMs);
            const result = decodeCheck(reply);
            if (result === null || result.fence !== this.fences[at]) {
                this.#state.lose('gone');
                return null;
            }
            if (request.keys.length === 1) this.#state.confirmed(sentAt, result.ttlMs);
            results.push(result);
        }
        return results.reduce((least, it) => ({
            fence: least.fence,
            ttlMs: Math.min(least.ttlMs, it.ttlMs),
            waiters: least.waiters + it.waiters,
        }));
    }

    /**
     * Turns an exclusive hold into a shared one with the same fence. The lock is not free in between.
     *
     * @throws {NotHeld} it was lost
     */
    async downgrade(): Promise<void> {
        this.assertHeld();
        const { reply } = await this.#command(this.#state.request.downgrade(this.fence), this.#state.remainingMs);
        if (Number(reply) !== 1) {
            this.#state.lose('gone');
            throw this.#notHeld();
        }
        this.#mode = 'shared';
    }

    /**
     * Ends the hold, and lets the next one have the lock. Calling it again returns the same promise.
     *
     * If the server does not answer within five request time-outs, the promise rejects, and the release goes on in the
     * background for as long as the lease lasts.
     *
     * @throws {NotHeld} it was lost before: others may have held the lock while the work still went on
     * @throws {Unreachable} no server answered in time
     */
    release(options: ReleaseOptions = {}): Promise<void> {
        this.#release ??= this.#doRelease(options);
        return this.#release;
    }

    async #doRelease({ coolMs }: ReleaseOptions): Promise<void> {
        // Bad options change nothing.
        const args = this.#state.request.release(this.fence, coolMs);
        this.assertHeld();
        const leftMs = this.#state.until - leaseClock.rough();
        this.#state.release();
        this.#home.keeper.remove(this.#state);
        this.#left(true);
        const answer = this.#command(args, Math.max(leftMs, 1000)).finally(() => {
            this.#session?.close();
            if (this.#strayAt !== undefined) this.#home.engine.withdrawals.afterRelease(this.#state.request, this.#strayAt);
        });
        let timer: NodeJS.Timeout | undefined;
        const late = new Promise<never>((_, reject) => {
            const error = new Unreachable(`the release of ${this.#state.request.name} was not answered; it goes on`);
            timer = setTimeout(() => reject(error), 5 * this.#home.requestTimeoutMs);
        });
        const { reply, resent } = await Promise.race([answer, late]).finally(() => clearTimeout(timer));
        // If it was sent twice, the first one may have done it.
        if (Number(reply) < this.keys.length && !resent) {
            throw new NotHeld(`${this.#state.request.name} was lost before it was released`, 'gone');
        }
    }

    /** Releases in the background what this client no longer counts on. */
    #giveUp(): void {
        const { request, leaseMs } = this.#state;
        const release = this.#home.engine
            .command(request.slot, request.release(this.fence), Math.max(leaseMs, 1000))
            .catch(() => undefined)
            .finally(() => this.#session?.close());
        this.#home.engine.inBackground(release);
    }

    /** @internal Calls `listener` when it is released or lost. */
    onEnd(listener: () => void): void {
        if (this.#state.ended) listener();
        else this.#endListeners.push(listener);
    }

    #left(released: boolean): void {
        this.#home.left(this, released);
        for (const listener of this.#endListeners.splice(0)) listener();
    }

    /** @internal Ends it because the client is closed. */
    abandon(): void {
        this.#state.lose('closed');
    }

    async #command(args: Parameters<Engine['command']>[1], patienceMs: number): ReturnType<Engine['command']> {
        const { request } = this.#state;
        try {
            return await this.#home.engine.command(request.slot, args, patienceMs);
        } catch (error) {
            if (error instanceof ReplyError) throw fromServer(error.text);
            if (error instanceof LinkError) {
                throw new Unreachable(`no server answered for ${request.name}: ${error.message}`, { cause: error });
            }
            throw error;
        }
    }

    #notHeld(): NotHeld {
        const { lost, request } = this.#state;
        if (!lost) return new NotHeld(`${request.name} was released`, 'gone');
        const why = {
            expired: 'its lease ended, and no server confirmed a longer one in time',
            gone: 'the server says that it is not held',
            max: 'its longest time (maxMs) is over',
            denied: 'the user may not extend it, and its lease ended',
            closed: 'the client was closed',
        };
        return new NotHeld(`${request.name} was lost: ${why[lost]}`, lost);
    }

    /** Releases the hold at the end of an `await using` block. Throws {@link NotHeld} if it was lost. */
    async [asyncDispose](): Promise<void> {
        if (this.#release) await this.#release.catch(() => undefined);
        else await this.release();
    }
}
