import type { Backend } from '../backend.js';
import type { ConnectionEvents, Dialer, Endpoint, RawConnection } from '../net/link.js';
import { addressMap, asKeys } from './shared.js';

/** What this adapter needs of a client of node-redis, from 4.6 on. */
export interface NodeRedisClient {
    /* eslint-disable @typescript-eslint/no-explicit-any -- the types of its three major versions have nothing in common */
    readonly options?: any;
    duplicate(overrides?: any): any;
    /* eslint-enable @typescript-eslint/no-explicit-any */
}

/** The function `createClient` of node-redis. */
// eslint-disable-next-line @typescript-eslint/no-explicit-any
export type CreateClient = (options?: any) => NodeRedisClient;

/** The options of `createClient`, as far as they matter here. */
export interface NodeRedisClientOptions {
    url?: string | undefined;
    socket?: object | undefined;
    username?: string | undefined;
    password?: string | undefined;
    database?: number | undefined;
}

/** The options of `createCluster`, as far as they matter here. */
export interface NodeRedisClusterOptions {
    rootNodes: readonly NodeRedisClientOptions[];
    defaults?: NodeRedisClientOptions | undefined;
    nodeAddressMap?: unknown;
}

/** The options of `createSentinel`, as far as they matter here. */
export interface NodeRedisSentinelOptions {
    /** The name under which the Sentinels know the primary. */
    name: string;
    sentinelRootNodes: readonly { host: string; port: number }[];
    nodeClientOptions?: NodeRedisClientOptions | undefined;
    sentinelClientOptions?: NodeRedisClientOptions | undefined;
    nodeAddressMap?: unknown;
}

/** Part of a client, as all versions have it. */
interface Client {
    on(event: string, listener: (argument: Error) => void): void;
    connect(): Promise<unknown>;
    sendCommand(args: (string | Buffer)[]): Promise<unknown>;
    subscribe(channel: string, listener: (message: unknown) => void, buffers: true): Promise<unknown>;
    disconnect?(): Promise<void>;
    destroy?(): void;
}

/**
 * Locks over node-redis (the package `redis`), with a client that `createClient` made.
 *
 * The package opens its own connections with the options of this client, and leaves the client itself alone.
 */
export function nodeRedis(client: NodeRedisClient): Backend {
    const options = (client.options ?? {}) as NodeRedisClientOptions;
    return {
        dialer: new NodeRedisDialer(client, options),
        target: { kind: 'single', endpoint: endpointOf(options) },
    };
}

/** Locks in a cluster, over node-redis. Takes the function `createClient` and the options of `createCluster`. */
export function nodeRedisCluster(createClient: CreateClient, options: NodeRedisClusterOptions): Backend {
    const first = options.rootNodes[0];
    if (!first) throw new TypeError('rootNodes names no node of the cluster');
    const node = { ...options.defaults, url: undefined };
    return {
        dialer: new NodeRedisDialer(createClient({ ...login(first), ...node }), { ...socketOf(first), ...node }),
        target: {
            kind: 'cluster',
            seeds: options.rootNodes.map((it) => endpointOf(it)),
            map: addressMap(options.nodeAddressMap),
        },
    };
}

/** Locks behind Sentinels, over node-redis. Takes the function `createClient` and the options of `createSentinel`. */
export function nodeRedisSentinel(createClient: CreateClient, options: NodeRedisSentinelOptions): Backend {
    const node = options.nodeClientOptions ?? {};
    const sentinel = options.sentinelClientOptions ?? {};
    return {
        dialer: new NodeRedisDialer(createClient(node), node),
        target: {
            kind: 'sentinel',
            sentinels: options.sentinelRootNodes.map(({ host, port }) => ({ host, port })),
            service: options.name,
            sentinelDialer: new NodeRedisDialer(createClient(sentinel), sentinel),
            map: addressMap(options.nodeAddressMap),
        },
    };
}

/** User and password of a node that the application named with a URL. */
function login(node: NodeRedisClientOptions): NodeRedisClientOptions {
    if (!node.url) return node;
    const { username, password } = new URL(node.url);
    return {
        ...(username ? { username: decodeURIComponent(username) } : {}),
        ...(password ? { password: decodeURIComponent(password) } : {}),
        ...socketOf(node),
    };
}

function socketOf(node: NodeRedisClientOptions): { socket?: object } {
    if (node.socket) return { socket: node.socket };
    return node.url?.startsWith('rediss:') ? { socket: { tls: true } } : {};
}

function endpointOf(options: NodeRedisClientOptions): Endpoint {
    const socket = (options.socket ?? {}) as { host?: string; port?: number; path?: string };
    if (socket.path) return { host: '', port: 0, path: socket.path };
    const url = options.url ? new URL(options.url) : undefined;
    const host = url?.hostname.replace(/^\[(.*)\]$/, '$1');
    return {
        host: socket.host ?? nonEmpty(host) ?? 'localhost',
        port: Number(socket.port ?? nonEmpty(url?.port) ?? 6379),
    };
}

function nonEmpty(text: string | undefined): string | undefined {
    return text === '' ? undefined : text;
}

const KEEPALIVE_MS = 5000;

class NodeRedisDialer implements Dialer {
    readonly library: string;
    readonly #template: NodeRedisClient;
    readonly #options: NodeRedisClientOptions;
    readonly #clients = new WeakMap<RawConnection, { client: Client; events: ConnectionEvents }>();

    constructor(template: NodeRedisClient, options: NodeRedisClientOptions) {
        this.#template = template;
        this.#options = options;
        this.library = libraryVersion();
    }

    async dial(to: Endpoint, name: string, timeoutMs: number, events: ConnectionEvents): Promise<RawConnection> {
        const client = this.#template.duplicate({
            ...this.#fromUrl(),
            url: undefined,
            name,
            // Invalidations are read in the form of RESP2.
            RESP: 2,
            readonly: false,
            disableOfflineQueue: false,
            pingInterval: undefined,
            commandsQueueMaxLength: undefined,
            clientSideCache: undefined,
            commandOptions: undefined,
            maintNotifications: 'disabled',
            socket: {
                ...this.#options.socket,
                ...(to.path ? { path: to.path } : { host: to.host, port: to.port, path: undefined }),
                connectTimeout: timeoutMs,
                // A peer that vanished is noticed some 15 seconds later: Node probes it ten times, once a second. Version 4
                // takes the delay as `keepAlive`, later ones as `keepAliveInitialDelay`.
                keepAlive: this.#isVersion4() ? KEEPALIVE_MS : true,
                keepAliveInitialDelay: KEEPALIVE_MS,
                // A wait may take any time. What hangs is noticed by a question on another connection.
                socketTimeout: undefined,
                // The package decides itself what is sent again, where and when.
                reconnectStrategy: false,
            },
        }) as Client;
        let cause: Error | undefined;
        client.on('error', (error) => {
            cause = error;
            events.closed(error);
        });
        client.on('end', () => events.closed(cause));
        const close = (): void => {
            // A client that has ended already says so with an error.
            try {
                if (client.destroy) client.destroy();
                else client.disconnect?.().catch(() => undefined);
            } catch {
                // It is closed.
            }
        };
        try {
            await client.connect();
        } catch (error) {
            close();
            throw cause ?? error;
        }
        const connection: RawConnection = { send: (args) => client.sendCommand(args), close };
        this.#clients.set(connection, { client, events });
        return connection;
    }

    async listen(connection: RawConnection): Promise<void> {
        const it = this.#clients.get(connection);
        await it?.client.subscribe('__redis__:invalidate', (keys) => it.events.invalidated(asKeys(keys)), true);
    }

    #isVersion4(): boolean {
        // Later versions close with `destroy`.
        return !('destroy' in this.#template);
    }

    /** A URL wins over everything in node-redis, so what it says has to be said in other options. */
    #fromUrl(): object {
        if (!this.#options.url) return {};
        const url = new URL(this.#options.url);
        const database = url.pathname.length > 1 ? { database: Number(url.pathname.slice(1)) } : {};
        return {
            ...(url.username ? { username: decodeURIComponent(url.username) } : {}),
            ...(url.password ? { password: decodeURIComponent(url.password) } : {}),
            ...database,
        };
    }
}

function libraryVersion(): string {
    try {
        // eslint-disable-next-line @typescript-eslint/no-require-imports
        return `redis ${(require('redis/package.json') as { version: string }).version}`;
    } catch {
        return 'redis';
    }
}
