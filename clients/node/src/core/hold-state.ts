import type { LossReason } from '../errors.js';
import type { LeaseClock } from './clock.js';
import type { Request } from './request.js';

/** What this client knows of one hold. It does no I/O: time comes from a clock, and news from the caller. */
export class HoldState {
    readonly request: Request;
    readonly fences: readonly number[];
    readonly renews: boolean;
    /** The length of the lease that was last given. */
    leaseMs: number;
    /** When the hold is surely over, by the lease clock. Before that the server has not ended it by its lease. */
    until: number;
    /** The server refused to extend it for this user. */
    denied = false;
    /** Ended: by a release, or by a loss. */
    ended = false;
    /** Why it was lost. */
    lost: LossReason | undefined;
    readonly since: number;
    readonly #clock: LeaseClock;
    readonly #maxUntil: number;
    readonly #lossListeners: ((reason: LossReason) => void)[] = [];

    /** `sentAt` is when the request left that was granted: the lease began then or later. */
    constructor(request: Request, fences: readonly number[], sentAt: number, renews: boolean, clock: LeaseClock) {
        this.request = request;
        this.fences = fences;
        this.renews = renews;
        this.leaseMs = request.leaseMs;
        this.#clock = clock;
        this.since = clock.rough();
        this.#maxUntil = request.maxMs > 0 ? sentAt + request.maxMs : Infinity;
        this.until = Math.min(sentAt + request.leaseMs, this.#maxUntil);
    }

    get fence(): number {
        return this.fences[0] as number;
    }

    /** Whether the hold lasts. Looks at the clock. */
    get held(): boolean {
        this.look();
        return !this.ended;
    }

    get remainingMs(): number {
        return this.held ? Math.max(0, this.until - this.#clock.now()) : 0;
    }

    /** Ends the hold if its time is over. */
    look(): void {
        if (this.ended || this.#clock.now() < this.until) return;
        this.lose(this.until >= this.#maxUntil ? 'max' : this.denied ? 'denied' : 'expired');
    }

    /** The server gave it a new lease, in answer to a request that left at `sentAt`. */
    extended(sentAt: number, leaseMs: number): void {
        this.leaseMs = leaseMs;
        this.until = Math.min(sentAt + leaseMs, this.#maxUntil);
    }

    /** The server said how much is left, in answer to a request that left at `sentAt`. */
    confirmed(sentAt: number, ttlMs: number): void {
        const latest = this.#clock.now() + ttlMs;
        this.until = Math.min(Math.max(this.until, sentAt + ttlMs), latest, this.#maxUntil);
    }

    /** When to extend it next: a third of the lease after the last time, not all holds at once. */
    renewAt(): number {
        return this.until === this.#maxUntil ? Infinity : this.until - this.leaseMs * (0.64 + Math.random() * 0.06);
    }

    onLost(listener: (reason: LossReason) => void): void {
        if (this.lost) listener(this.lost);
        else this.#lossListeners.push(listener);
    }

    lose(reason: LossReason): void {
        if (this.ended) return;
        this.ended = true;
        this.lost = reason;
        for (const listener of this.#lossListeners.splice(0)) listener(reason);
    }

    /** It was released, or is being released: from now on nothing is a loss. */
    release(): void {
        this.ended = true;
        this.#lossListeners.length = 0;
    }
}
