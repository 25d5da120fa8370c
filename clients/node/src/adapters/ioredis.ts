import { type ClusterOptions, Redis, type RedisOptions } from 'ioredis';
import type { Backend } from '../backend.js';
import type { ConnectionEvents, Dialer, Endpoint, RawConnection } from '../net/link.js';
import { addressMap, asKeys } from './shared.js';

/** What this adapter needs of a client of ioredis, from 5.3 on: a `Redis` or a `Cluster`. */
export interface IoredisClient {
    readonly options: object;
    readonly isCluster: boolean;
}

/**
 * Locks over ioredis. The client may be connected to one server, through Sentinels, or be a `Cluster`.
 *
 * The package opens its own connections with the options of this client, and leaves the client itself alone. A `keyPrefix`
 * does not apply to locks.
 */
export function ioredis(client: IoredisClient): Backend {
    if (client.isCluster) return cluster(client);
    const options = client.options as RedisOptions;
    const dialer = new IoredisDialer(options);
    if (options.sentinels) {
        const sentinelOptions: RedisOptions = {
            ...(options.sentinelUsername === undefined ? {} : { username: options.sentinelUsername }),
            ...(options.sentinelPassword === undefined ? {} : { password: options.sentinelPassword }),
            ...(options.enableTLSForSentinelMode && options.sentinelTLS ? { tls: options.sentinelTLS } : {}),
        };
        const { tls, ...rest } = options;
        const primaryOptions = options.enableTLSForSentinelMode && tls ? { ...rest, tls } : rest;
        return {
            dialer: new IoredisDialer(primaryOptions),
            target: {
                kind: 'sentinel',
                sentinels: options.sentinels.map((it) => endpoint(it.host, it.port, 26379)),
                service: options.name ?? 'mymaster',
                sentinelDialer: new IoredisDialer(sentinelOptions),
                map: addressMap(options.natMap),
            },
        };
    }
    const one = options.path ? { host: '', port: 0, path: options.path } : endpoint(options.host, options.port, 6379);
    return { dialer, target: { kind: 'single', endpoint: one } };
}

function cluster(client: IoredisClient): Backend {
    const options = client.options as ClusterOptions;
    // The nodes that the application named. ioredis keeps them in a member that its types hide.
    const { startupNodes = [] } = client as unknown as { startupNodes?: (string | number | Partial<Endpoint>)[] };
    const seeds = startupNodes.map((it) => {
        if (typeof it === 'number') return endpoint(undefined, it, 6379);
        if (typeof it === 'object') return endpoint(it.host, it.port, 6379);
        const url = new URL(it.includes('://') ? it : `redis://${it}`);
        return endpoint(url.hostname, url.port === '' ? undefined : Number(url.port), 6379);
    });
    if (seeds.length === 0) throw new TypeError('the Cluster has no startup nodes');
    return {
        dialer: new IoredisDialer({ ...options.redisOptions, db: 0 }),
        target: { kind: 'cluster', seeds, map: addressMap(options.natMap) },
    };
}

/** A peer that vanished is noticed some 15 seconds later: Node probes it ten times, once a second. Milliseconds. */
const KEEPALIVE_MS = 5000;

class IoredisDialer implements Dialer {
    readonly library: string;
    readonly #options: RedisOptions;
    readonly #redis = new WeakMap<RawConnection, Redis>();

    constructor(options: RedisOptions) {
        this.#options = options;
        this.library = libraryVersion();
    }

    async dial(to: Endpoint, name: string, timeoutMs: number, events: ConnectionEvents): Promise<RawConnection> {
        const options: Record<string, unknown> = {
            ...this.#options,
            sentinels: undefined,
            name: undefined,
            keyPrefix: undefined,
            // From ioredis 6 on RESP3 is the default. Invalidations are read in the form of RESP2.
            protocol: 2,
            path: to.path,
            host: to.host,
            port: to.port,
            connectionName: name,
            connectTimeout: timeoutMs,
            lazyConnect: true,
            // The package decides itself what is sent again, where and when.
            retryStrategy: () => null,
            reconnectOnError: null,
            autoResendUnfulfilledCommands: false,
            autoResubscribe: false,
            maxRetriesPerRequest: null,
            enableOfflineQueue: true,
            enableReadyCheck: false,
            readOnly: false,
            enableAutoPipelining: false,
            stringNumbers: false,
            keepAlive: this.#options.keepAlive ? this.#options.keepAlive : KEEPALIVE_MS,
            // A wait may take any time. What hangs is noticed by a question on another connection.
            commandTimeout: undefined,
            socketTimeout: undefined,
            blockingTimeout: undefined,
            monitor: false,
        };
        const redis = new Redis(options);
        let cause: Error | undefined;
        redis.on('error', (error: Error) => (cause = error));
        redis.on('end', () => events.closed(cause));
        redis.on('messageBuffer', (_channel: Buffer, keys: unknown) => events.invalidated(asKeys(keys)));
        try {
            await redis.connect();
        } catch (error) {
            redis.disconnect();
            throw cause ?? error;
        }
        const connection: RawConnection = {
            send: ([command, ...args]) => redis.call(command as string, ...(args as string[])),
            close: () => redis.disconnect(),
        };
        this.#redis.set(connection, redis);
        return connection;
    }

    async listen(connection: RawConnection): Promise<void> {
        await this.#redis.get(connection)?.subscribe('__redis__:invalidate');
    }
}

function endpoint(host: string | undefined | null, port: number | string | undefined, standard: number): Endpoint {
    return { host: host ?? '127.0.0.1', port: Number(port ?? standard) };
}

function libraryVersion(): string {
    try {
        // eslint-disable-next-line @typescript-eslint/no-require-imports
        return `ioredis ${(require('ioredis/package.json') as { version: string }).version}`;
    } catch {
        return 'ioredis';
    }
}
