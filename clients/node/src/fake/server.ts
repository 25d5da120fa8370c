import { LongTimer } from '../core/clock.js';
import { type Key, keyId } from '../core/request.js';
import type { ConnectionEvents, Dialer, RawConnection } from '../net/link.js';
import { ReplyError } from '../net/link.js';
import type { Target } from '../net/router.js';
import { Arguments } from './arguments.js';
import { FakeLocks, type Reply, WAITS } from './locks.js';

/** Settings of a {@link FakeServer}. */
export interface FakeServerOptions {
    /** How many replicas confirm a grant of `durable`. Default: 0. */
    replicas?: number;
}

interface Connection {
    id: number;
    events: ConnectionEvents;
    open: boolean;
    /** The commands behind one that waits. */
    queue: { args: (string | Buffer)[]; resolve(reply: unknown): void; reject(error: Error): void }[];
    busy: boolean;
    /** The connection that is told of changes of what this one asks about. */
    tracking: number;
}

/**
 * A server in memory, for tests of programs that use locks: `new Locks(new FakeServer())` behaves as over a real server
 * that has the module. Several clients can share one. It knows one user, one database and no cluster.
 */
export class FakeServer {
    /** How clients connect to it. */
    readonly dialer: Dialer;
    readonly target: Target = { kind: 'single', endpoint: { host: 'fake', port: 6379 } };
    readonly #locks: FakeLocks;
    readonly #connections = new Map<number, Connection>();
    /** By key: the connections to tell when it changes. */
    readonly #tracked = new Map<string, Set<number>>();
    readonly #replicas: number;
    #nextId = 1;
    #skipped = 0;
    #timer: LongTimer | undefined;

    constructor(options: FakeServerOptions = {}) {
        this.#replicas = options.replicas ?? 0;
        this.#locks = new FakeLocks(() => performance.now() + this.#skipped, { changed: (key) => this.#changed(key) });
        this.dialer = {
            library: 'fake',
            dial: (_endpoint, _name, _timeoutMs, events) => Promise.resolve(this.#connect(events)),
            listen: () => Promise.resolve(),
        };
    }

    /** Lets time pass for the server: leases end, and whoever waits is granted the lock. Clients are told of it. */
    advance(ms: number): void {
        this.#skipped += ms;
        this.#look();
    }

    /** Ends all holds of a lock, as an operator does with DEL. Returns whether there were any. */
    remove(key: Key): boolean {
        const removed = this.#locks.remove(keyId(key));
        this.#look();
        return removed;
    }

    /** Breaks all connections. Clients connect again. */
    disconnect(): void {
        for (const connection of [...this.#connections.values()]) {
            this.#close(connection);
            connection.events.closed(new Error('the fake server closed the connection'));
        }
    }

    #connect(events: ConnectionEvents): RawConnection {
        const connection: Connection = { id: this.#nextId++, events, open: true, queue: [], busy: false, tracking: 0 };
        this.#connections.set(connection.id, connection);
        return {
            send: (args) =>
                new Promise((resolve, reject) => {
                    if (!connection.open) return reject(new Error('the connection is closed'));
                    connection.queue.push({ args, resolve, reject });
                    setImmediate(() => this.#serve(connection));
                }),
            close: () => this.#close(connection),
        };
    }

    #close(connection: Connection): void {
        if (!connection.open) return;
        connection.open = false;
        connection.queue.length = 0;
        this.#connections.delete(connection.id);
        this.#locks.disconnected(connection.id);
        this.#look();
    }

    /** Runs the commands of a connection one after the other. What waits keeps the next ones waiting. */
    #serve(connection: Connection): void {
        while (!connection.busy && connection.open) {
            const command = connection.queue.shift();
            if (!command) return;
            connection.busy = true;
            const answer = (reply: Reply): void => {
                connection.busy = false;
                if (reply instanceof Error) command.reject(new ReplyError(reply.message));
                else command.resolve(reply);
                setImmediate(() => this.#serve(connection));
            };
            let reply: Reply | typeof WAITS;
            try {
                reply = this.#run(connection, new Arguments(command.args), answer);
            } catch (error) {
                reply = error as Error;
            }
            if (reply !== WAITS) answer(reply);
            this.#look();
        }
    }

    #run(connection: Connection, args: Arguments, answer: (reply: Reply) => void): Reply | typeof WAITS {
        const name = args.word();
        switch (name) {
            case 'PING':
                return 'PONG';
            case 'CLIENT':
                return this.#client(connection, args);
            case 'WAIT':
                return this.#replicas;
            case 'LOCK.ACQUIRE':
            case 'LOCK.MACQUIRE':
                return this.#acquire(connection, args, name === 'LOCK.MACQUIRE', answer);
            case 'LOCK.RELEASE':
            case 'LOCK.MRELEASE': {
                const keys = args.keys(name === 'LOCK.MRELEASE');
                const owner = args.text();
                const options = args.options(['FENCE', 'COOL'], ['DOWNGRADE']);
                const fence = options.get('FENCE') ?? 0;
                if (options.has('DOWNGRADE')) return this.#locks.downgrade(keys[0] as string, owner, fence);
                return this.#locks.release(keys, owner, fence, options.get('COOL') ?? 0);
            }
            case 'LOCK.EXTEND':
            case 'LOCK.MEXTEND': {
                const keys = args.keys(name === 'LOCK.MEXTEND');
                const owner = args.text();
                const options = args.options(['PX', 'FENCE'], []);
                return this.#locks.extend(keys, owner, options.get('PX'), options.get('FENCE') ?? 0);
            }
            case 'LOCK.CHECK': {
                const [key] = args.keys(false) as [string];
                this.#track(connection, key);
                return this.#locks.check(key, args.text());
            }
            case 'LOCK.INFO': {
                const [key] = args.keys(false) as [string];
                this.#track(connection, key);
                return this.#locks.info(key);
            }
            case 'LOCK.LIST':
                return this.#list(args);
            case 'LOCK.TOP':
                return this.#top(args);
            default:
                return new Error(`ERR the fake does not know the command ${name}`);
        }
    }

    #client(connection: Connection, args: Arguments): Reply {
        const verb = args.word();
        if (verb === 'ID') return connection.id;
        if (verb !== 'TRACKING') return new Error(`ERR the fake does not know CLIENT ${verb}`);
        connection.tracking = args.options(['REDIRECT'], ['ON']).get('REDIRECT') ?? connection.id;
        return 'OK';
    }

    #acquire(connection: Connection, args: Arguments, multi: boolean, answer: (reply: Reply) => void): Reply | typeof WAITS {
        const keys = args.keys(multi);
        const owner = args.text();
        const options = args.options(['PX', 'BLOCK', 'LIMIT', 'WEIGHT', 'MAX', 'DELAY'], ['SHARED', 'SESSION']);
        const limit = options.get('LIMIT') ?? 0;
        const ask = {
            keys,
            multi,
            owner,
            leaseMs: options.get('PX') ?? 30_000,
            mode: limit > 0 ? ('counted' as const) : options.has('SHARED') ? ('shared' as const) : ('exclusive' as const),
            limit,
            weight: options.get('WEIGHT') ?? 1,
            maxMs: options.get('MAX') ?? 0,
            delayMs: options.get('DELAY') ?? 0,
            session: options.has('SESSION') ? connection.id : 0,
            client: connection.id,
        };
        const blockMs = options.get('BLOCK');
        if (blockMs === undefined) return this.#locks.acquire(ask);
        const timer = new LongTimer(blockMs === 0 ? Infinity : blockMs, () => {
            this.#locks.cancel(connection.id, null);
            this.#look();
        });
        const reply = this.#locks.acquire(ask, (later) => {
            timer.cancel();
            answer(later);
        });
        if (reply !== WAITS) timer.cancel();
        return reply;
    }

    #list(args: Arguments): Reply {
        args.text();
        const { match, owner } = args.filters();
        const locks = this.#locks.list(owner, false).filter((it) => match === undefined || match.test(it.key));
        return ['0', locks.map((it) => it.entry)];
    }

    #top(args: Arguments): Reply {
        const { count, by } = args.filters();
        const worth = by === 'WAITED' ? 'waited' : 'waiters';
        const locks = this.#locks.list(undefined, true).sort((a, b) => b[worth] - a[worth]);
        return locks.slice(0, count).map((it) => it.entry);
    }

    #track(connection: Connection, key: string): void {
        if (connection.tracking === 0) return;
        const told = this.#tracked.get(key) ?? new Set();
        this.#tracked.set(key, told.add(connection.tracking));
    }

    #changed(key: string): void {
        const told = this.#tracked.get(key);
        this.#tracked.delete(key);
        for (const id of told ?? []) {
            const connection = this.#connections.get(id);
            setImmediate(() => {
                if (connection?.open) connection.events.invalidated([Buffer.from(key, 'latin1')]);
            });
        }
    }

    /** Ends what is over, and sets the timer for what ends next. */
    #look(): void {
        this.#timer?.cancel();
        const next = this.#locks.expire() - performance.now() - this.#skipped;
        this.#timer = next === Infinity ? undefined : new LongTimer(next, () => this.#look());
    }
}
