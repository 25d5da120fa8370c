import type { Arg } from '../core/request.js';

/** Where a server listens: a host and a port, or the path of a socket. */
export interface Endpoint {
    host: string;
    port: number;
    path?: string | undefined;
}

/** An error that the server answered. `text` is what it said. */
export class ReplyError extends Error {
    override name = 'ReplyError';
    readonly code: string;

    constructor(readonly text: string) {
        super(text);
        this.code = text.split(' ', 1)[0] ?? '';
    }

    /** Where -MOVED or -ASK points. The host may be empty: then it is the one that answered. */
    redirection(): { slot: number; host: string; port: number } | undefined {
        if (this.code !== 'MOVED' && this.code !== 'ASK') return undefined;
        const [, slot, address = ''] = this.text.split(' ');
        const colon = address.lastIndexOf(':');
        return { slot: Number(slot), host: address.slice(0, colon), port: Number(address.slice(colon + 1)) };
    }
}

/** The connection failed, or could not be made. */
export class LinkError extends Error {
    override name = 'LinkError';
}

/** A connection as a client library gives it. */
export interface RawConnection {
    send(args: (string | Buffer)[]): Promise<unknown>;
    close(): void;
}

/** Told of what happens to a connection. */
export interface ConnectionEvents {
    closed(cause?: Error): void;
    /** The server says that these locks changed. Null means that any of them may have. */
    invalidated(keys: Buffer[] | null): void;
}

/** How to open connections with one client library. A connection never reconnects by itself, and repeats nothing. */
export interface Dialer {
    /** The name and the version of the library, for people. */
    readonly library: string;
    /** Opens a connection. It must be logged in, and the database selected. */
    dial(endpoint: Endpoint, name: string, timeoutMs: number, events: ConnectionEvents): Promise<RawConnection>;
    /** Makes the connection receive the server's invalidation messages. It can send nothing else but PING then. */
    listen(connection: RawConnection): Promise<void>;
}

interface Pending {
    sentAt: number;
    resolve(reply: unknown): void;
    reject(error: Error): void;
}

/** One connection. It ends once and for all, and then everything that has no answer yet fails with a LinkError. */
export class Link {
    #connection: RawConnection | undefined;
    readonly #pending = new Set<Pending>();
    readonly #closedListeners: (() => void)[] = [];
    #closed: LinkError | undefined;
    /** When the server last answered something, by performance.now(). */
    heardAt = performance.now();
    /** The server's id for this connection, if somebody asked for it. */
    clientId = 0;

    constructor(readonly endpoint: Endpoint) {}

    static async open(
        dialer: Dialer,
        endpoint: Endpoint,
        name: string,
        timeoutMs: number,
        invalidated: (keys: Buffer[] | null) => void = () => undefined,
    ): Promise<Link> {
        const link = new Link(endpoint);
        let timer: NodeJS.Timeout | undefined;
        const late = new Promise<never>((_, reject) => {
            timer = setTimeout(() => reject(new LinkError(`no connection to ${show(endpoint)} in ${timeoutMs} ms`)), timeoutMs);
        });
        const dialed = dialer.dial(endpoint, name, timeoutMs, { closed: (cause) => link.close(cause), invalidated });
        try {
            link.#connection = await Promise.race([dialed, late]);
        } catch (error) {
            dialed.then((connection) => connection.close(), () => undefined);
            throw asLinkError(error);
        } finally {
            clearTimeout(timer);
        }
        if (link.#closed) {
            link.#connection.close();
            throw link.#closed;
        }
        return link;
    }

    get open(): boolean {
        return this.#closed === undefined && this.#connection !== undefined;
    }

    get connection(): RawConnection {
        if (!this.#connection) throw new LinkError('not connected');
        return this.#connection;
    }

    /** When the oldest request that has no answer was sent, by performance.now(). */
    get waitingSince(): number | undefined {
        const [oldest] = this.#pending;
        return oldest?.sentAt;
    }

    /** Sends a command at once. The promise rejects with a ReplyError or a LinkError. */
    send(args: readonly Arg[]): Promise<unknown> {
        if (this.#closed || !this.#connection) return Promise.reject(this.#closed ?? new LinkError('not connected'));
        const connection = this.#connection;
        return new Promise((resolve, reject) => {
            const pending: Pending = { sentAt: performance.now(), resolve, reject };
            this.#pending.add(pending);
            connection.send(args.map((arg) => (typeof arg === 'number' ? String(arg) : arg))).then(
                (reply) => {
                    if (!this.#pending.delete(pending)) return;
                    this.heardAt = performance.now();
                    resolve(reply);
                },
                (error: unknown) => {
                    if (!this.#pending.has(pending)) return;
                    if (isServerReply(error)) {
                        this.#pending.delete(pending);
                        this.heardAt = performance.now();
                        reject(new ReplyError(error.message));
                    } else {
                        this.close(error);
                    }
                },
            );
        });
    }

    onClosed(listener: () => void): void {
        if (this.#closed) listener();
        else this.#closedListeners.push(listener);
    }

    close(cause?: unknown): void {
        if (this.#closed) return;
        this.#closed = closedBecause(cause);
        this.#connection?.close();
        for (const pending of this.#pending) pending.reject(this.#closed);
        this.#pending.clear();
        for (const listener of this.#closedListeners.splice(0)) listener();
    }
}

/** Whether a client library reports with this error what the server said. */
export function isServerReply(error: unknown): error is Error {
    if (!(error instanceof Error)) return false;
    for (let type: unknown = error; type; type = Object.getPrototypeOf(type)) {
        const name = (type).constructor.name;
        // ioredis: ReplyError. node-redis: ErrorReply, and SimpleError and BlobError below it.
        if (name === 'ReplyError' || name === 'ErrorReply') return true;
    }
    return false;
}

function closedBecause(cause: unknown): LinkError {
    if (cause instanceof LinkError) return cause;
    if (!(cause instanceof Error)) return new LinkError('the connection was closed');
    return new LinkError(`the connection was closed: ${cause.message}`, { cause });
}

/** What the server said stays a ReplyError; anything else becomes a LinkError. */
export function asLinkError(error: unknown): LinkError | ReplyError {
    if (error instanceof LinkError || error instanceof ReplyError) return error;
    if (isServerReply(error)) return new ReplyError(error.message);
    return new LinkError(error instanceof Error ? error.message : String(error), { cause: error });
}

export function show(endpoint: Endpoint): string {
    return endpoint.path ?? `${endpoint.host}:${endpoint.port}`;
}

/** Compares endpoints. */
export function endpointId(endpoint: Endpoint): string {
    return endpoint.path ?? `${endpoint.host.toLowerCase()}:${endpoint.port}`;
}
