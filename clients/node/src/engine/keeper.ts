import { Backoff } from '../core/backoff.js';
import { leaseClock, LongTimer } from '../core/clock.js';
import { Heap } from '../core/heap.js';
import type { HoldState } from '../core/hold-state.js';
import { decodeCheck, decodeInfo, type LockInfo } from '../core/reply.js';
import { type Key, keyId } from '../core/request.js';
import { keySlot } from '../core/slot.js';
import { fromServer, type ServerError } from '../errors.js';
import { LinkError, ReplyError } from '../net/link.js';
import type { ServerNode } from '../net/server-node.js';
import type { Engine } from './engine.js';

/** A hold that is over sooner is not worth a question. Milliseconds. */
const TRACK_AFTER_MS = 30;
/** A lock that changes all the time is looked at this often. Milliseconds. */
const LOOK_EVERY_MS = 40;
/** An observer looks again after this time, also if it was told of nothing. Milliseconds. */
const OBSERVE_AGAIN_MS = 15_000;
/** The same if the server tells nothing. */
const OBSERVE_UNTRACKED_MS = 1000;

/** The longest time between two looks at the clock while there are holds. Milliseconds. */
const LOOK_AT_CLOCK_MS = 10_000;

/** An observer of one lock. It is called with what LOCK.INFO says. */
export interface Watch {
    readonly key: Key;
    seen(info: LockInfo | null): void;
    failed(error: ServerError): void;
}

interface Kept {
    state: HoldState;
    node: ServerNode | undefined;
    /** A renewal is on its way. */
    renewing: boolean;
    renewAt: number;
    backoff: Backoff;
    /** What the heap has for it counts only if it has this number. */
    version: number;
}

interface Watched {
    watch: Watch;
    node: ServerNode | undefined;
    timer: LongTimer | undefined;
    looking: boolean;
    again: boolean;
    ended: boolean;
}

interface Due {
    due: number;
    version: number;
    kept: Kept;
}

/** Renews all holds of a client, notices their loss, and looks at locks for observers. One timer serves all holds. */
export class Keeper {
    readonly #engine: Engine;
    readonly #renewed: (state: HoldState) => void;
    readonly #heap = new Heap<Due>();
    readonly #kept = new Map<HoldState, Kept>();
    readonly #keptByKey = new Map<string, Set<Kept>>();
    readonly #watched = new Set<Watched>();
    readonly #looks = new Map<string, NodeJS.Timeout>();
    readonly #again = new Set<string>();
    #timer: LongTimer | undefined;
    #timerDue = Infinity;

    constructor(engine: Engine, renewed: (state: HoldState) => void) {
        this.#engine = engine;
        this.#renewed = renewed;
    }

    add(state: HoldState): void {
        const renewAt = state.renews ? state.renewAt() : Infinity;
        const kept: Kept = { state, node: undefined, renewing: false, renewAt, backoff: new Backoff(50, 1000), version: 0 };
        this.#kept.set(state, kept);
        for (const key of state.request.keys) {
            const id = keyId(key);
            const others = this.#keptByKey.get(id);
            if (others) others.add(kept);
            else this.#keptByKey.set(id, new Set([kept]));
        }
        this.#push(kept, Math.min(leaseClock.rough() + TRACK_AFTER_MS, renewAt, state.until));
    }

    remove(state: HoldState): void {
        const kept = this.#kept.get(state);
        if (!kept) return;
        this.#kept.delete(state);
        kept.version++;
        for (const key of state.request.keys) {
            const id = keyId(key);
            const others = this.#keptByKey.get(id);
            others?.delete(kept);
            if (others?.size === 0) this.#keptByKey.delete(id);
        }
    }

    /** Its user gave it another lease: see anew when to renew it. */
    changed(state: HoldState): void {
        const kept = this.#kept.get(state);
        if (kept) this.#schedule(kept);
    }

    #schedule(kept: Kept): void {
        const { state } = kept;
        kept.renewAt = state.renews && !state.denied ? state.renewAt() : Infinity;
        this.#push(kept, Math.min(kept.renewAt, state.until));
    }

    #push(kept: Kept, due: number): void {
        kept.version++;
        this.#heap.push({ due, version: kept.version, kept });
        if (due < this.#timerDue) this.#arm(due);
    }

    #arm(due: number): void {
        this.#timer?.cancel();
        this.#timerDue = due;
        // Timers of Node stand still while the machine sleeps, so the clock is looked at from time to time.
        const delayMs = Math.min(due - leaseClock.rough(), LOOK_AT_CLOCK_MS);
        this.#timer = new LongTimer(delayMs, () => this.#tick());
    }

    #tick(): void {
        this.#timerDue = Infinity;
        const now = leaseClock.now();
        for (let first = this.#heap.first; first; first = this.#heap.first) {
            const stale = first.version !== first.kept.version;
            if (!stale && first.due > now) {
                this.#arm(first.due);
                return;
            }
            this.#heap.pop();
            if (!stale) this.#due(first.kept, now);
        }
    }

    #due(kept: Kept, now: number): void {
        const { state } = kept;
        state.look();
        if (state.ended) return;
        if (!kept.node) void this.#track(kept);
        if (kept.renewAt <= now && !kept.renewing) void this.#renew(kept);
        this.#push(kept, kept.renewing ? state.until : Math.min(kept.renewAt, state.until));
    }

    async #renew(kept: Kept): Promise<void> {
        const { state } = kept;
        kept.renewing = true;
        const { request, leaseMs } = state;
        try {
            const extend = request.extend(state.fence, leaseMs);
            const { reply, sentAt } = await this.#engine.command(request.slot, extend, state.until - leaseClock.now());
            if (state.ended) return;
            if (Number(reply) !== request.keys.length) return state.lose('gone');
            state.extended(sentAt, leaseMs);
            kept.backoff = new Backoff(50, 1000);
            kept.renewing = false;
            this.#renewed(state);
            this.#schedule(kept);
        } catch (error) {
            if (state.ended) return;
            state.look();
            if (error instanceof ReplyError && (error.code === 'NOPERM' || error.code === 'WRONGTYPE')) {
                if (error.code === 'WRONGTYPE') return state.lose('gone');
                state.denied = true;
                kept.renewAt = Infinity;
            } else {
                // Such as -NOREPLICAS: that may pass.
                kept.renewAt = leaseClock.now() + kept.backoff.nextMs();
            }
            this.#push(kept, Math.min(kept.renewAt, state.until));
        } finally {
            kept.renewing = false;
        }
    }

    /** Asks whether it is held, in such a way that the server tells this client when that changes. */
    async #track(kept: Kept): Promise<void> {
        const { state } = kept;
        const { request } = state;
        try {
            const node = await this.#engine.router.locate(request.slot);
            kept.node = node;
            if (!(await node.tracked()) || state.ended) return;
            await this.#check(kept, node);
        } catch (error) {
            if (state.ended) return;
            if (error instanceof ReplyError && kept.node && this.#engine.policy.passes(error)) {
                this.#engine.follow(error, kept.node);
            }
            // Renewals go on meanwhile. They tell of a loss too, only later.
            kept.node = undefined;
            this.#push(kept, Math.min(leaseClock.now() + kept.backoff.nextMs() + 500, kept.renewAt, state.until));
        }
    }

    async #check(kept: Kept, node: ServerNode): Promise<void> {
        const { state } = kept;
        const sentAt = leaseClock.now();
        const replies = await Promise.all(state.request.checks().map((check) => node.request(check)));
        if (state.ended) return;
        const checks = replies.map(decodeCheck);
        if (checks.some((check, at) => check?.fence !== state.fences[at])) return state.lose('gone');
        const before = state.until;
        state.confirmed(sentAt, Math.min(...checks.map((check) => check?.ttlMs ?? 0)));
        if (state.until < before) this.#schedule(kept);
    }

    /** The server says that these locks changed; null: any lock of this node may have. */
    invalidated(node: ServerNode, keys: Buffer[] | null): void {
        if (keys) {
            for (const key of keys) this.#dirty(key.toString('latin1'));
            return;
        }
        for (const kept of this.#kept.values()) {
            if (kept.node !== node) continue;
            kept.node = undefined;
            // Not all at once, and after the new connection is there.
            this.#push(kept, leaseClock.now() + 50 + Math.random() * 200);
        }
        for (const watched of this.#watched) {
            if (watched.node === node) this.#lookLater(watched, 50 + Math.random() * 200);
        }
    }

    #dirty(id: string): void {
        if (this.#looks.has(id)) {
            this.#again.add(id);
            return;
        }
        const look = (): void => {
            for (const kept of this.#keptByKey.get(id) ?? []) if (!kept.state.ended) void this.#track(kept);
            for (const watched of this.#watched) if (keyId(watched.watch.key) === id) void this.#look(watched);
        };
        look();
        // The releases of a busy lock come in crowds. Whoever was told has asked, and the last news are asked for too.
        this.#looks.set(
            id,
            setTimeout(() => {
                this.#looks.delete(id);
                if (this.#again.delete(id)) this.#dirty(id);
            }, LOOK_EVERY_MS).unref(),
        );
    }

    /** Calls the observer with the state of the lock now, and whenever it has changed. Returns what ends that. */
    watch(watch: Watch): () => void {
        const watched: Watched = { watch, node: undefined, timer: undefined, looking: false, again: false, ended: false };
        this.#watched.add(watched);
        void this.#look(watched);
        return () => {
            watched.ended = true;
            watched.timer?.cancel();
            this.#watched.delete(watched);
        };
    }

    #lookLater(watched: Watched, delayMs: number): void {
        watched.timer?.cancel();
        watched.timer = new LongTimer(delayMs, () => void this.#look(watched));
    }

    async #look(watched: Watched): Promise<void> {
        if (watched.looking) {
            watched.again = true;
            return;
        }
        watched.looking = true;
        watched.again = false;
        const { watch } = watched;
        let next = OBSERVE_UNTRACKED_MS;
        try {
            const node = await this.#engine.router.locate(keySlot(watch.key));
            watched.node = node;
            if (await node.tracked()) next = OBSERVE_AGAIN_MS;
            const info = decodeInfo(await node.request(['LOCK.INFO', watch.key]));
            if (!watched.ended) watch.seen(info);
        } catch (error) {
            next = OBSERVE_UNTRACKED_MS * (0.5 + Math.random() / 2);
            if (error instanceof ReplyError) {
                if (this.#engine.policy.passes(error)) {
                    if (watched.node) this.#engine.follow(error, watched.node);
                } else if (!watched.ended) {
                    watch.failed(fromServer(error.text));
                }
            } else if (error instanceof LinkError && watched.node) {
                this.#engine.router.doubt(watched.node);
            }
        } finally {
            watched.looking = false;
        }
        if (watched.ended) return;
        // eslint-disable-next-line @typescript-eslint/no-unnecessary-condition -- set by another call meanwhile
        if (watched.again) void this.#look(watched);
        else this.#lookLater(watched, next);
    }

    close(): void {
        this.#timer?.cancel();
        this.#timerDue = -Infinity;
        for (const timer of this.#looks.values()) clearTimeout(timer);
        for (const watched of this.#watched) {
            watched.ended = true;
            watched.timer?.cancel();
        }
        this.#watched.clear();
    }
}
