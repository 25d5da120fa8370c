import type { Mode } from '../core/request.js';

/** Told of what happens to the locks of a fake server. */
export interface Listener {
    /** A lock was granted, released, ended in another way, or changed its mode. */
    changed(key: string): void;
}

/** A request for one lock, or for several together. Times are in milliseconds. */
export interface Ask {
    keys: string[];
    multi: boolean;
    owner: string;
    leaseMs: number;
    mode: Mode;
    limit: number;
    weight: number;
    maxMs: number;
    delayMs: number;
    /** The connection that the hold is bound to, or 0. */
    session: number;
    /** The connection of the request. */
    client: number;
}

interface Hold {
    owner: string;
    fence: number;
    shared: boolean;
    limit: number;
    weight: number;
    leaseMs: number;
    grantedAt: number;
    until: number;
    maxUntil: number;
    delayMs: number;
    session: number;
}

interface Wait {
    ask: Ask;
    since: number;
    answer(reply: Reply): void;
}

interface Lock {
    holds: Hold[];
    queue: Wait[];
    coolUntil: number;
}

/** What the server answers: numbers, texts, nested arrays, null, or an error. */
export type Reply = number | string | null | Error | Reply[];

/** The request waits, and is answered later. */
export const WAITS = Symbol('waits');

const HELD_SHARED = 'ERR this owner holds the lock shared, release it first to ask for the exclusive hold';

/** The rules of the server's locks, in memory. Time is given from outside. */
export class FakeLocks {
    readonly #locks = new Map<string, Lock>();
    readonly #now: () => number;
    readonly #listener: Listener;
    #fence = 0;

    constructor(now: () => number, listener: Listener) {
        this.#now = now;
        this.#listener = listener;
    }

    /** Grants at once, refuses with null or an error, or waits: then `wait` is called with the answer later. */
    acquire(ask: Ask, wait?: (reply: Reply) => void): Reply | typeof WAITS {
        this.expire();
        const locks = ask.keys.map((key) => this.#lock(key));
        const own = locks.map((lock) => lock.holds.find((it) => it.owner === ask.owner));
        if (own.some((hold) => hold?.shared === true && ask.mode === 'exclusive')) return new Error(HELD_SHARED);
        const free = locks.every((lock, at) => own[at] !== undefined || (lock.queue.length === 0 && this.#fits(lock, ask)));
        if (free) return this.#grant(ask);
        if (!wait) return null;
        const cycle = this.#cycle(ask);
        if (cycle) return new Error(`DEADLOCK waiting would close a cycle: ${cycle}`);
        const waiting: Wait = { ask, since: this.#now(), answer: wait };
        for (const [at, lock] of locks.entries()) if (own[at] === undefined) lock.queue.push(waiting);
        return WAITS;
    }

    #grant(ask: Ask): Reply {
        const now = this.#now();
        const fences = ask.keys.map((key) => {
            const lock = this.#lock(key);
            const held = lock.holds.find((it) => it.owner === ask.owner);
            if (held) {
                held.until = Math.min(Math.max(held.until, now + ask.leaseMs), held.maxUntil);
                held.leaseMs = ask.leaseMs;
                held.session = ask.session;
                return held.fence;
            }
            this.#fence = Math.max(this.#fence + 1, Date.now() * 1000);
            const maxUntil = ask.maxMs > 0 ? now + ask.maxMs : Infinity;
            lock.holds.push({
                owner: ask.owner,
                fence: this.#fence,
                shared: ask.mode !== 'exclusive',
                limit: ask.limit,
                weight: ask.weight,
                leaseMs: ask.leaseMs,
                grantedAt: now,
                until: Math.min(now + ask.leaseMs, maxUntil),
                maxUntil,
                delayMs: ask.delayMs,
                session: ask.session,
            });
            this.#listener.changed(key);
            return this.#fence;
        });
        return ask.multi ? fences : (fences[0] as number);
    }

    #fits(lock: Lock, ask: Ask): boolean {
        if (lock.coolUntil > this.#now()) return false;
        const others = lock.holds.filter((it) => it.owner !== ask.owner);
        if (others.length === 0) return ask.limit === 0 || ask.weight <= ask.limit;
        if (ask.mode === 'exclusive' || others.some((it) => !it.shared)) return false;
        const limits = [...others.map((it) => it.limit), ask.limit].filter((limit) => limit > 0);
        const used = others.reduce((sum, it) => sum + it.weight, 0);
        return limits.length === 0 || used + ask.weight <= Math.min(...limits);
    }

    /** The cycle that this request would close, in words. */
    #cycle(ask: Ask): string | undefined {
        const seen = new Set<string>();
        const search = (request: Ask, path: string[]): string | undefined => {
            if (request.limit > 1) return undefined;
            for (const key of request.keys) {
                const lock = this.#lock(key);
                const at = lock.queue.findIndex((it) => it.ask === request);
                const before = at < 0 ? lock.queue.at(-1) : lock.queue[at - 1];
                for (const owner of [...lock.holds.map((it) => it.owner), ...(before ? [before.ask.owner] : [])]) {
                    if (owner === request.owner) continue;
                    const step = `'${request.owner}' waits for '${owner}' (lock '${decode(key)}')`;
                    if (owner === ask.owner) return [...path, step].join(', ');
                    if (seen.has(owner)) continue;
                    seen.add(owner);
                    for (const next of this.#waitsOf(owner)) {
                        const found = search(next.ask, [...path, step]);
                        if (found) return found;
                    }
                }
            }
            return undefined;
        };
        return search(ask, []);
    }

    #waitsOf(owner: string): Wait[] {
        return [...new Set([...this.#locks.values()].flatMap((it) => it.queue))].filter((it) => it.ask.owner === owner);
    }

    /** Returns how many of the locks the owner held. */
    release(keys: string[], owner: string, fence: number, coolMs: number): number | Error {
        this.expire();
        let released = 0;
        for (const key of keys) {
            const lock = this.#lock(key);
            const hold = lock.holds.find((it) => it.owner === owner);
            if (fence > 0 && hold?.fence !== fence) continue;
            if (coolMs > 0 && hold?.shared) return new Error('ERR COOL needs an exclusive hold');
            for (const wait of lock.queue.filter((it) => it.ask.owner === owner)) this.#leave(wait, null);
            if (hold) {
                released++;
                if (coolMs > 0) lock.coolUntil = this.#now() + coolMs;
                this.#end(key, lock, hold);
            }
        }
        this.#serve();
        return released;
    }

    downgrade(key: string, owner: string, fence: number): number {
        const hold = this.#hold(key, owner, fence);
        if (!hold) return 0;
        if (!hold.shared) {
            hold.shared = true;
            this.#listener.changed(key);
            this.#serve();
        }
        return 1;
    }

    extend(keys: string[], owner: string, leaseMs: number | undefined, fence: number): number {
        let extended = 0;
        for (const key of keys) {
            const hold = this.#hold(key, owner, fence);
            if (!hold) continue;
            hold.leaseMs = leaseMs ?? hold.leaseMs;
            hold.until = Math.min(this.#now() + hold.leaseMs, hold.maxUntil);
            extended++;
        }
        return extended;
    }

    check(key: string, owner: string): Reply {
        const hold = this.#hold(key, owner, 0);
        return hold ? [hold.fence, Math.ceil(hold.until - this.#now()), this.#lock(key).queue.length] : null;
    }

    info(key: string): Reply {
        this.expire();
        const lock = this.#lock(key);
        const now = this.#now();
        const cooling = Math.max(0, Math.ceil(lock.coolUntil - now));
        if (lock.holds.length === 0 && lock.queue.length === 0 && cooling === 0) return null;
        const holders = lock.holds.slice(0, 100).map((it): Reply[] => [
            ...['owner', it.owner, 'fence', it.fence, 'ttl', Math.ceil(it.until - now)],
            ...['held', Math.floor(now - it.grantedAt), 'limit', it.limit, 'session', it.session, 'weight', it.weight],
            ...['max', it.maxUntil === Infinity ? 0 : Math.ceil(it.maxUntil - now)],
        ]);
        return [
            ...['mode', modeOf(lock, cooling), 'holders-count', lock.holds.length, 'holders', holders],
            ...['waiters', lock.queue.length, 'queue', this.#queue(lock, 10), 'cooling', cooling],
        ];
    }

    #queue(lock: Lock, most: number): Reply[] {
        return lock.queue.slice(0, most).map(({ ask, since }): Reply[] => [
            ...['owner', ask.owner, 'mode', ask.mode === 'exclusive' ? 'exclusive' : 'shared'],
            ...['waited', Math.floor(this.#now() - since), 'client', ask.client],
        ]);
    }

    /** All locks as LOCK.LIST shows them, with what LOCK.TOP adds if that is wished. */
    list(owner: string | undefined, contended: boolean): { key: string; waiters: number; waited: number; entry: Reply[] }[] {
        this.expire();
        const now = this.#now();
        return [...this.#locks].flatMap(([key, lock]) => {
            const hold = owner === undefined ? lock.holds[0] : lock.holds.find((it) => it.owner === owner);
            const cooling = Math.max(0, Math.ceil(lock.coolUntil - now));
            if (!hold && (owner !== undefined || (cooling === 0 && !contended))) return [];
            if (contended && lock.queue.length === 0) return [];
            const waited = Math.floor(now - (lock.queue[0]?.since ?? now));
            const entry: Reply[] = [
                ...['key', decode(key), 'mode', modeOf(lock, cooling), 'owner', hold?.owner ?? ''],
                ...['holders-count', lock.holds.length, 'fence', hold?.fence ?? 0],
                ...['ttl', hold ? Math.ceil(hold.until - now) : cooling, 'held', hold ? Math.floor(now - hold.grantedAt) : 0],
                ...['waiters', lock.queue.length],
                ...(contended ? ['waited', waited, 'queue', this.#queue(lock, 3)] : []),
            ];
            return [{ key: decode(key), waiters: lock.queue.length, waited, entry }];
        });
    }

    /** An operator removes the lock, as DEL does. */
    remove(key: string): boolean {
        const lock = this.#locks.get(key);
        if (!lock || (lock.holds.length === 0 && lock.coolUntil <= this.#now())) return false;
        lock.holds = [];
        lock.coolUntil = 0;
        this.#listener.changed(key);
        this.#serve();
        return true;
    }

    /** A connection closed: its waits are forgotten, and the holds that are bound to it end. */
    disconnected(client: number): void {
        for (const [key, lock] of this.#locks) {
            for (const wait of lock.queue.filter((it) => it.ask.client === client)) this.#leave(wait, undefined);
            for (const hold of lock.holds.filter((it) => it.session === client)) {
                if (hold.delayMs > 0) lock.coolUntil = this.#now() + hold.delayMs;
                this.#end(key, lock, hold);
            }
        }
        this.#serve();
    }

    /** Ends a wait with this answer. */
    cancel(client: number, reply: Reply): void {
        for (const lock of this.#locks.values()) {
            for (const wait of lock.queue.filter((it) => it.ask.client === client)) this.#leave(wait, reply);
        }
        this.#serve();
    }

    /** Ends what is over, grants what can be granted, and says when to look again. */
    expire(): number {
        const now = this.#now();
        let next = Infinity;
        for (const [key, lock] of this.#locks) {
            for (const hold of lock.holds.filter((it) => it.until <= now)) {
                if (hold.delayMs > 0) lock.coolUntil = now + hold.delayMs;
                this.#end(key, lock, hold);
            }
        }
        this.#serve();
        for (const [key, lock] of this.#locks) {
            const ends = lock.holds.map((it) => it.until);
            if (lock.coolUntil > now) ends.push(lock.coolUntil);
            next = Math.min(next, ...ends);
            if (ends.length === 0 && lock.queue.length === 0) this.#locks.delete(key);
        }
        return next;
    }

    #end(key: string, lock: Lock, hold: Hold): void {
        lock.holds = lock.holds.filter((it) => it !== hold);
        this.#listener.changed(key);
    }

    #serve(): void {
        for (let again = true; again; ) {
            again = false;
            for (const lock of this.#locks.values()) {
                const wait = lock.queue[0];
                if (!wait || !this.#ready(wait)) continue;
                this.#leave(wait, this.#grant(wait.ask));
                again = true;
            }
        }
    }

    #ready({ ask }: Wait): boolean {
        return ask.keys.every((key) => {
            const lock = this.#lock(key);
            if (lock.holds.some((it) => it.owner === ask.owner)) return true;
            const first = lock.queue[0];
            return (first === undefined || first.ask === ask) && this.#fits(lock, ask);
        });
    }

    #leave(wait: Wait, reply: Reply | undefined): void {
        for (const key of wait.ask.keys) {
            const lock = this.#lock(key);
            lock.queue = lock.queue.filter((it) => it !== wait);
        }
        if (reply !== undefined) wait.answer(reply);
    }

    #hold(key: string, owner: string, fence: number): Hold | undefined {
        this.expire();
        const hold = this.#locks.get(key)?.holds.find((it) => it.owner === owner);
        return fence > 0 && hold?.fence !== fence ? undefined : hold;
    }

    #lock(key: string): Lock {
        let lock = this.#locks.get(key);
        if (!lock) this.#locks.set(key, (lock = { holds: [], queue: [], coolUntil: 0 }));
        return lock;
    }
}

function modeOf(lock: Lock, coolingMs: number): string {
    const [hold] = lock.holds;
    if (hold) return hold.shared ? 'shared' : 'exclusive';
    return coolingMs > 0 ? 'cooling' : 'free';
}

/** Keys are kept as the bytes that they are sent as. */
function decode(key: string): string {
    return Buffer.from(key, 'latin1').toString();
}
