import { Backoff } from '../core/backoff.js';
import type { Arg } from '../core/request.js';
import { type Dialer, type Endpoint, Link, LinkError, ReplyError, show } from './link.js';

/** What the nodes of one client share. */
export interface NodeContext {
    readonly dialer: Dialer;
    /** The name of connections, for CLIENT LIST. */
    readonly name: string;
    /** A server that does not answer for so long is looked at. Milliseconds. */
    readonly requestTimeoutMs: number;
    /** How often a server at which somebody waits is asked whether it is alive. Milliseconds. */
    readonly probeIntervalMs: number;
    /** How many connections of past waits are kept for later ones. */
    readonly idleLinks: number;
    readonly tracking: boolean;
    /** A connection was opened. */
    opened(): void;
    /** The server says that these locks changed; null: any of this node may have. */
    invalidated(node: ServerNode, keys: Buffer[] | null): void;
    /** The server does not answer at all. It may have been replaced. */
    hung(node: ServerNode): void;
}

const IDLE_MS = 30_000;

/** One server: the connection that all share, those of waits, and one that is told of changes and notices a hang. */
export class ServerNode {
    /** Set when another server took its place. */
    retired = false;
    #shared: Link | undefined;
    #dialing: Promise<Link> | undefined;
    #listener: Link | undefined;
    #tracked: Promise<boolean> | undefined;
    readonly #idle: { link: Link; since: number }[] = [];
    readonly #waits = new Set<Link>();
    readonly #all = new Set<Link>();
    #watchdog: NodeJS.Timeout | undefined;
    #probing = false;
    #failures = new Backoff();
    #notBefore = 0;

    constructor(
        readonly endpoint: Endpoint,
        readonly context: NodeContext,
    ) {}

    /** The connection that all commands share, except those that wait. */
    async shared(): Promise<Link> {
        if (this.#shared?.open) return this.#shared;
        this.#dialing ??= this.#dialShared().finally(() => (this.#dialing = undefined));
        return this.#dialing;
    }

    async #dialShared(): Promise<Link> {
        // A server that refuses connections is not asked more often because more callers need it.
        const early = this.#notBefore - performance.now();
        if (early > 0) await new Promise((resolve) => setTimeout(resolve, early));
        try {
            const link = await this.#dial();
            this.#failures = new Backoff();
            this.#adopt(link);
            return link;
        } catch (error) {
            this.#notBefore = performance.now() + this.#failures.nextMs();
            throw error;
        }
    }

    #adopt(link: Link): void {
        this.#shared = link;
        link.onClosed(() => {
            if (this.#shared !== link) return;
            this.#shared = undefined;
            this.#lostTrack();
        });
    }

    async #dial(invalidated?: (keys: Buffer[] | null) => void): Promise<Link> {
        if (this.retired) throw new LinkError(`${show(this.endpoint)} was replaced by another server`);
        this.context.opened();
        const { dialer, name, requestTimeoutMs } = this.context;
        // A server that stands still for a moment accepts connections, but does not log anybody in.
        const link = await Link.open(dialer, this.endpoint, name, Math.max(2000, 3 * requestTimeoutMs), invalidated);
        this.#all.add(link);
        link.onClosed(() => this.#all.delete(link));
        // eslint-disable-next-line @typescript-eslint/no-unnecessary-condition -- it may have changed meanwhile
        if (this.retired) {
            link.close(new LinkError(`${show(this.endpoint)} was replaced by another server`));
            throw new LinkError(`${show(this.endpoint)} was replaced by another server`);
        }
        return link;
    }

    /** Sends a command on the shared connection. */
    async request(args: readonly Arg[]): Promise<unknown> {
        return this.sendOn(await this.shared(), args);
    }

    /** Sends a command on a connection that somebody has from `shared()`. */
    sendOn(link: Link, args: readonly Arg[]): Promise<unknown> {
        const reply = link.send(args);
        this.#watch();
        return reply;
    }

    /** A connection of one's own, from the pool or new. */
    async borrow(): Promise<Link> {
        for (let idle = this.#idle.pop(); idle; idle = this.#idle.pop()) {
            if (idle.link.open) return idle.link;
        }
        return this.#dial();
    }

    /** Gives a borrowed connection back. Nothing may be on its way on it. */
    giveBack(link: Link): void {
        this.endWait(link);
        if (!link.open) return;
        const now = performance.now();
        if (this.retired) link.close();
        else this.#idle.push({ link, since: now });
        for (let oldest = this.#idle[0]; oldest; oldest = this.#idle[0]) {
            if (this.#idle.length <= this.context.idleLinks && oldest.since >= now - IDLE_MS) break;
            this.#idle.shift();
            oldest.link.close();
        }
    }

    /** Somebody waits on this connection: the server is asked every few seconds whether it is alive. */
    beginWait(link: Link): void {
        this.#waits.add(link);
        this.#watch();
    }

    endWait(link: Link): void {
        this.#waits.delete(link);
    }

    /**
     * Whether the server tells this client when a lock changes that it asks about from now on. False if this user may
     * not have that. Rejects with a LinkError if there is no connection at the moment.
     */
    tracked(): Promise<boolean> {
        if (!this.context.tracking) return Promise.resolve(false);
        this.#tracked ??= this.#track();
        return this.#tracked;
    }

    async #track(): Promise<boolean> {
        try {
            const link = await this.shared();
            if (!this.#listener?.open) {
                const listener = await this.#dial((keys) => this.context.invalidated(this, keys));
                try {
                    listener.clientId = Number(await listener.send(['CLIENT', 'ID']));
                    await this.context.dialer.listen(listener.connection);
                } catch (error) {
                    listener.close();
                    throw error;
                }
                this.#listener = listener;
                listener.onClosed(() => {
                    if (this.#listener !== listener) return;
                    this.#listener = undefined;
                    this.#lostTrack();
                });
            }
            await this.sendOn(link, ['CLIENT', 'TRACKING', 'ON', 'REDIRECT', this.#listener.clientId]);
            if (!link.open || !this.#listener.open) throw new LinkError('a connection was lost');
            return true;
        } catch (error) {
            // The user may not do this: then only renewals tell of a loss. After a lost connection it is tried again.
            if (error instanceof ReplyError) return false;
            this.#tracked = undefined;
            throw error;
        }
    }

    #lostTrack(): void {
        this.#tracked = undefined;
        this.context.invalidated(this, null);
    }

    /** Another server took the place of this one. Whoever waits here goes there. */
    retire(): void {
        this.retired = true;
        this.#end(new LinkError(`${show(this.endpoint)} was replaced by another server`));
    }

    close(): void {
        this.retired = true;
        this.#end(new LinkError('the client was closed'));
    }

    #end(cause: LinkError): void {
        clearInterval(this.#watchdog);
        this.#watchdog = undefined;
        this.closeLinks(cause);
    }

    /** Closes all connections to this server. */
    closeLinks(cause: Error): void {
        for (const link of [...this.#all]) link.close(cause);
        this.#idle.length = 0;
    }

    /** Looks at the shared connection as long as somebody waits for an answer of this server. */
    #watch(): void {
        if (this.#watchdog || this.retired) return;
        const { requestTimeoutMs, probeIntervalMs } = this.context;
        this.#watchdog = setInterval(
            () => {
                const now = performance.now();
                const link = this.#shared;
                const since = link?.waitingSince;
                if (since !== undefined && now - since >= requestTimeoutMs) {
                    void this.suspect(link as Link);
                } else if (this.#waits.size > 0) {
                    if (!link || now - link.heardAt >= probeIntervalMs) this.request(['PING']).catch(() => undefined);
                } else if (since === undefined) {
                    clearInterval(this.#watchdog);
                    this.#watchdog = undefined;
                }
            },
            Math.min(requestTimeoutMs / 2, probeIntervalMs / 2),
        );
        this.#watchdog.unref();
    }

    /**
     * The connection has been silent for too long. One new connection finds out whether it is the connection or the
     * server: everybody who waits learns from it, and no connection is given up because the server is slow.
     */
    async suspect(silent: Link): Promise<void> {
        if (this.#probing) return;
        this.#probing = true;
        const { requestTimeoutMs } = this.context;
        try {
            for (const backoff = new Backoff(requestTimeoutMs / 2, 2 * requestTimeoutMs); silent.open && !this.retired; ) {
                const answer = await this.#probe(silent);
                if (answer === 'recovered') return;
                if (answer instanceof Link) {
                    // The server lives and the connection does not. That says nothing about other connections: those of
                    // waits are probed by the keepalive of TCP, which finds a dead path within some 15 seconds.
                    silent.close(new LinkError(`${show(this.endpoint)} answers on other connections, but not on this one`));
                    if (this.#shared?.open || this.#dialing) answer.close();
                    else this.#adopt(answer);
                    return;
                }
                this.context.hung(this);
                await new Promise((resolve) => setTimeout(resolve, backoff.nextMs()));
            }
        } finally {
            this.#probing = false;
        }
    }

    async #probe(silent: Link): Promise<Link | 'recovered' | 'hung'> {
        const began = performance.now();
        const { requestTimeoutMs } = this.context;
        const recovered = (): boolean => !silent.open || silent.heardAt > began || silent.waitingSince === undefined;
        let link: Link | undefined;
        try {
            link = await this.#dial();
            const reply = link.send(['PING']).then(
                () => true,
                (error: unknown) => error instanceof ReplyError,
            );
            for (;;) {
                const alive = await Promise.race([reply, sleep(requestTimeoutMs).then(() => undefined)]);
                if (alive === false) return recovered() ? 'recovered' : 'hung';
                if (alive) break;
                if (recovered() || this.retired) return close(link, 'recovered');
                // Keep the question: a server that goes on answers it, and no further connection is needed.
                this.context.hung(this);
            }
            // A server that goes on after a pause answers one connection after the other.
            await sleep(requestTimeoutMs / 2);
            return recovered() ? close(link, 'recovered') : link;
        } catch {
            link?.close();
            return recovered() ? 'recovered' : 'hung';
        }
    }
}

function close<T>(link: Link, answer: T): T {
    link.close();
    return answer;
}

function sleep(ms: number): Promise<void> {
    return new Promise((resolve) => setTimeout(resolve, ms).unref());
}
