import { Backoff } from '../core/backoff.js';
import { leaseClock } from '../core/clock.js';
import { HoldState } from '../core/hold-state.js';
import { type Arg, type Request, keyId } from '../core/request.js';
import { ClientClosed, fromServer, NotAcquired, NotDurable, Unreachable } from '../errors.js';
import { Link, LinkError, ReplyError } from '../net/link.js';
import { RetryPolicy, type Router } from '../net/router.js';
import type { ServerNode } from '../net/server-node.js';
import { decodeCheck } from '../core/reply.js';
import { withTimeout } from '../net/timeout.js';
import { Attempt } from './attempt.js';
import { Limits, Stopped } from './limits.js';
import { SendWindow } from './send-window.js';
import { Turnstile } from './turnstile.js';
import { Withdrawals } from './withdrawals.js';

/** What a caller asks of one acquisition, beside the request. */
export interface AcquireOptions {
    timeoutMs: number;
    renew: boolean;
    signal?: AbortSignal | undefined;
    durable?: { replicas: number; timeoutMs: number } | undefined;
}

export interface EngineOptions {
    requestTimeoutMs: number;
    maxWaits: number;
    shareWaits: boolean;
}

/** A hold together with what keeps it. */
export interface Granted {
    state: HoldState;
    /** The connection that a SESSION hold is bound to. */
    session: Link | undefined;
    /** When a connection broke on which the ACQUIRE may still be on its way. */
    strayAt: number | undefined;
}

/** A wait that lasted so long before it failed was no failed attempt. Milliseconds. */
const WENT_WELL_MS = 5000;

interface Answer {
    reply: unknown;
    /** When the request left that was answered, by the lease clock. */
    sentAt: number;
    /** It had been sent before, and that may have reached a server. */
    resent: boolean;
}

/** Acquires locks, and sends commands to the servers that are responsible. */
export class Engine {
    readonly router: Router;
    readonly policy = new RetryPolicy();
    readonly withdrawals: Withdrawals;
    readonly #options: EngineOptions;
    readonly #closing = new Set<() => void>();
    readonly #waits: Turnstile;
    readonly #windows = new WeakMap<Link, SendWindow>();
    readonly #gates = new Map<string, Turnstile>();
    readonly #background = new Set<Promise<unknown>>();
    #closed = false;
    #ended = false;

    constructor(router: Router, options: EngineOptions) {
        this.router = router;
        this.#options = options;
        this.#waits = new Turnstile(options.maxWaits);
        this.withdrawals = new Withdrawals((request, timeoutMs) => this.command(request.slot, request.withdraw(), timeoutMs));
    }

    checkOpen(): void {
        if (this.#closed) throw new ClientClosed();
    }

    /** Acquires, or throws one of the errors of this package. */
    async acquire(request: Request, options: AcquireOptions): Promise<Granted> {
        this.checkOpen();
        options.signal?.throwIfAborted();
        // Also a caller that does not wait is owed an answer.
        const patienceMs = options.timeoutMs + this.#options.requestTimeoutMs;
        const limits = new Limits(patienceMs, options.signal, this.#closing);
        const attempt = new Attempt();
        const places: (() => void)[] = [];
        try {
            await this.withdrawals.settled(request, limits);
            return await this.#ask(request, options, limits, attempt, places);
        } catch (error) {
            this.withdrawals.begin(request, attempt);
            throw explain(error, request, options, attempt);
        } finally {
            limits.dispose();
            for (const leave of places) leave();
        }
    }

    async #ask(
        request: Request,
        options: AcquireOptions,
        limits: Limits,
        attempt: Attempt,
        places: (() => void)[],
    ): Promise<Granted> {
        const deadline = performance.now() + options.timeoutMs;
        const ownConnection = request.session || options.durable !== undefined;
        let backoff = new Backoff();
        let redirected: { node: ServerNode; asking: boolean } | undefined;
        for (let hops = 0; ; ) {
            try {
                const node = redirected?.node ?? (await limits.race(this.router.locate(request.slot)));
                const asking = redirected?.asking ?? false;
                redirected = undefined;
                let granted: Granted | undefined;
                if (attempt.busy || ownConnection) {
                    if (places.length === 0) await this.#enter(request, limits, places);
                    const leftMs = deadline - performance.now();
                    granted = await this.#wait(request, options, limits, attempt, node, asking, leftMs);
                } else {
                    granted = await this.#try(request, options, limits, attempt, node, asking);
                }
                if (granted) return granted;
                attempt.refusal = undefined;
                if (performance.now() >= deadline) throw new NotAcquired(busyText(request, options));
                // A wait that ends before its time was cancelled by an operator, or by a release of the same owner.
                if (attempt.busy) await limits.pause(backoff.nextMs());
                else backoff = new Backoff();
                attempt.busy = true;
            } catch (error) {
                if (!this.policy.passes(error)) throw error;
                const to = this.#failed(error as ReplyError | LinkError, attempt);
                if (to && hops++ < 5) {
                    redirected = to;
                    continue;
                }
                hops = 0;
                // What went well for a while and fails now is tried again soon.
                if (performance.now() - (attempt.sentAt ?? Infinity) > WENT_WELL_MS) backoff = new Backoff();
                const pauseMs = backoff.nextMs();
                if (options.timeoutMs > 0 && performance.now() + pauseMs > deadline) throw error;
                await limits.pause(pauseMs);
            }
        }
    }

    /** Notes a failure that an acquisition outlives. Returns where the server says to ask. */
    #failed(error: ReplyError | LinkError, attempt: Attempt): { node: ServerNode; asking: boolean } | undefined {
        const node = attempt.node;
        if (error instanceof LinkError) {
            attempt.failure = error;
            attempt.refusal = undefined;
            if (node) this.router.doubt(node);
            return undefined;
        }
        attempt.refusal = error;
        // It may have been granted the moment before.
        if (error.code === 'UNBLOCKED') attempt.mayHold = true;
        return node && this.follow(error, node);
    }

    /** What to do about an error of a node: where to ask next, if it says so. */
    follow(error: ReplyError, node: ServerNode): { node: ServerNode; asking: boolean } | undefined {
        const to = error.redirection();
        if (to) return { node: this.router.redirected(node, to, error.code === 'MOVED'), asking: error.code === 'ASK' };
        if (error.code !== 'TRYAGAIN' && error.code !== 'LOADING') this.router.doubt(node);
        return undefined;
    }

    /** Asks once, on the connection that all share. */
    async #try(
        request: Request,
        options: AcquireOptions,
        limits: Limits,
        attempt: Attempt,
        node: ServerNode,
        asking: boolean,
    ): Promise<Granted | undefined> {
        attempt.node = node;
        const link = await limits.race(node.shared());
        const window = this.#window(link);
        await window.enter(limits);
        const began = performance.now();
        const sentAt = leaseClock.now();
        let reply: unknown;
        try {
            reply = await this.#send(request, limits, attempt, link, asking, undefined, node);
        } finally {
            // A caller that gives up leaves its request on the way.
            const leave = (): void => window.leave(performance.now() - began);
            if (attempt.flight) attempt.flight.reply.then(leave, leave);
            else leave();
        }
        if (reply === null) return undefined;
        const state = new HoldState(request, request.fences(reply), sentAt, options.renew, leaseClock);
        return { state, session: undefined, strayAt: attempt.strayAt };
    }

    #window(link: Link): SendWindow {
        let window = this.#windows.get(link);
        if (!window) this.#windows.set(link, (window = new SendWindow()));
        return window;
    }

    /** Asks on a connection of its own, and waits there. */
    async #wait(
        request: Request,
        options: AcquireOptions,
        limits: Limits,
        attempt: Attempt,
        node: ServerNode,
        asking: boolean,
        leftMs: number,
    ): Promise<Granted | undefined> {
        const link = await this.#ownLink(limits, attempt, node);
        const sentAt = leaseClock.now();
        const blockMs = leftMs > 0 && options.timeoutMs > 0 ? leftMs : undefined;
        const reply = await this.#send(request, limits, attempt, link, asking, blockMs, node);
        if (reply === null) return undefined;
        attempt.mayHold = true;
        const fences = request.fences(reply);
        const state = new HoldState(request, fences, sentAt, options.renew, leaseClock);
        if (options.durable) await this.#confirm(request, options.durable, limits, link);
        // The lease began at the grant, some time after the request. How much is left is asked for, unless it cannot
        // matter: the answer may have lain in a busy process, or in the network.
        if (!options.renew || leaseClock.now() - sentAt > request.leaseMs / 3) {
            if (!(await this.#look(request, state, limits, link))) return undefined;
        }
        attempt.link = undefined;
        if (!request.session) node.giveBack(link);
        return { state, session: request.session ? link : undefined, strayAt: attempt.strayAt };
    }

    /** The connection of this wait: the one it has, if that leads to this node, or another one. */
    async #ownLink(limits: Limits, attempt: Attempt, node: ServerNode): Promise<Link> {
        if (attempt.link?.open && attempt.node === node) return attempt.link;
        if (attempt.link) attempt.node?.giveBack(attempt.link);
        attempt.link = undefined;
        attempt.node = node;
        const borrowing = node.borrow();
        try {
            attempt.link = await limits.race(borrowing);
        } catch (error) {
            borrowing.then(
                (link) => node.giveBack(link),
                () => undefined,
            );
            throw error;
        }
        return attempt.link;
    }

    async #send(
        request: Request,
        limits: Limits,
        attempt: Attempt,
        link: Link,
        asking: boolean,
        blockMs: number | undefined,
        node: ServerNode,
    ): Promise<unknown> {
        const waits = blockMs !== undefined;
        if (waits) node.beginWait(link);
        if (asking) link.send(['ASKING']).catch(() => undefined);
        const args = request.acquire(blockMs);
        const reply = waits ? link.send(args) : node.sendOn(link, args);
        attempt.flight = { link, reply, waits };
        attempt.sentAt = performance.now();
        try {
            const answer = await limits.race(reply);
            attempt.flight = undefined;
            return answer ?? null;
        } catch (error) {
            if (error instanceof LinkError) attempt.strayAt = performance.now();
            if (!(error instanceof Stopped)) attempt.flight = undefined;
            throw error;
        } finally {
            if (waits) node.endWait(link);
        }
    }

    /** WAIT counts only replicas that have the hold, if it comes on the connection of the grant. */
    async #confirm(request: Request, durable: { replicas: number; timeoutMs: number }, limits: Limits, link: Link) {
        const reply = link.send(['WAIT', durable.replicas, Math.max(1, Math.ceil(durable.timeoutMs))]);
        const confirmed = Number(await limits.race(reply));
        if (confirmed >= durable.replicas) return;
        const text = `${confirmed} of ${durable.replicas} replicas confirmed ${request.name} in ${durable.timeoutMs} ms`;
        throw new NotDurable(text, confirmed, durable.replicas);
    }

    /** Asks how much of a new hold's leases is left. False if it is over already. */
    async #look(request: Request, state: HoldState, limits: Limits, link: Link): Promise<boolean> {
        const sentAt = leaseClock.now();
        const replies = await limits.race(Promise.all(request.checks().map((check) => link.send(check))));
        const checks = replies.map(decodeCheck);
        if (checks.some((check, at) => check?.fence !== state.fences[at])) return false;
        state.confirmed(sentAt, Math.min(...checks.map((check) => check?.ttlMs ?? 0)));
        return true;
    }

    /** Takes a place among the waits, and stands behind the wait of this process for the same lock, if that is wished. */
    async #enter(request: Request, limits: Limits, places: (() => void)[]): Promise<void> {
        if (this.#options.shareWaits && request.keys.length === 1) {
            const id = keyId(request.keys[0] as string);
            const gate = this.#gates.get(id) ?? new Turnstile(1);
            this.#gates.set(id, gate);
            await gate.enter(limits);
            places.push(() => {
                gate.leave();
                if (gate.idle(1)) this.#gates.delete(id);
            });
        }
        await this.#waits.enter(limits);
        places.push(() => this.#waits.leave());
    }

    /**
     * Sends a command that does not wait to the server that is responsible, again and again until one answers, or until
     * `patienceMs` are over. Rejects with a ReplyError or a LinkError.
     */
    async command(slot: number, args: readonly Arg[], patienceMs: number): Promise<Answer> {
        const deadline = performance.now() + patienceMs;
        const backoff = new Backoff();
        let redirected: { node: ServerNode; asking: boolean } | undefined;
        let resent = false;
        for (let hops = 0; ; ) {
            if (this.#ended) throw new ClientClosed();
            const way: { node?: ServerNode } = {};
            try {
                const answer = await within(this.#sendOnce(slot, args, redirected, way), deadline);
                return { ...answer, resent };
            } catch (error) {
                if (!this.policy.passes(error)) throw error;
                const { node } = way;
                redirected = undefined;
                if (error instanceof ReplyError) {
                    redirected = node && this.follow(error, node);
                } else {
                    resent = true;
                    if (node) this.router.doubt(node);
                }
                if (redirected && hops++ < 5) continue;
                const pauseMs = backoff.nextMs();
                if (performance.now() + pauseMs >= deadline) throw error;
                await new Promise((resolve) => setTimeout(resolve, pauseMs));
            }
        }
    }

    /** Sends a command once. Tells in `way` to which node it goes. */
    async #sendOnce(
        slot: number,
        args: readonly Arg[],
        to: { node: ServerNode; asking: boolean } | undefined,
        way: { node?: ServerNode },
    ): Promise<{ reply: unknown; sentAt: number }> {
        const node = to?.node ?? (await this.router.locate(slot));
        way.node = node;
        const link = await node.shared();
        const sentAt = leaseClock.rough();
        if (to?.asking) node.sendOn(link, ['ASKING']).catch(() => undefined);
        return { reply: await node.sendOn(link, args), sentAt };
    }

    /** Something that the end of the client has to wait for. It must not reject. */
    inBackground(work: Promise<unknown>): void {
        this.#background.add(work);
        void work.then(() => this.#background.delete(work));
    }

    /** Resolves when all that runs in the background now is done. */
    async settled(): Promise<void> {
        await Promise.all([...this.#background, this.withdrawals.all()]);
    }

    /** Gives up what is left in the background, and closes all connections. */
    end(): void {
        this.#ended = true;
        this.router.close();
    }

    /** Ends all acquisitions with ClientClosed, and lets none begin. */
    stop(): void {
        this.#closed = true;
        for (const close of [...this.#closing]) close();
    }
}

function within<T>(promise: Promise<T>, deadline: number): Promise<T> {
    return withTimeout(promise, deadline - performance.now());
}

/** The error that the caller gets. */
function explain(error: unknown, request: Request, options: AcquireOptions, attempt: Attempt): unknown {
    if (error instanceof ReplyError) return fromServer(error.text);
    const failure = error instanceof LinkError ? error : attempt.failure;
    const unreachable = (): Unreachable =>
        new Unreachable(
            `no server answered the request for ${request.name}${failure ? `: ${failure.message}` : ''}`,
            failure ? { cause: failure } : undefined,
        );
    if (error instanceof LinkError) return unreachable();
    if (!(error instanceof Stopped)) return error;
    if (error.why === 'abort') return options.signal?.reason;
    if (error.why === 'closed') return new ClientClosed();
    if (attempt.refusal) return fromServer(attempt.refusal.text);
    if (attempt.busy || (attempt.flight && options.timeoutMs > 0)) return new NotAcquired(busyText(request, options));
    return unreachable();
}

function busyText(request: Request, options: AcquireOptions): string {
    if (options.timeoutMs === 0) return `${request.name} is taken`;
    return `${request.name} was not acquired in ${options.timeoutMs} ms`;
}
