// The driver of the Node client: JSON lines on standard input and output, as in conformance/PROTOCOL.md.
//
//     node driver.mjs --flavour ioredis|node-redis|...

import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';
import { backend, flavours, library } from './backends.mjs';
import { plant } from './faults.mjs';

const fromPackage = createRequire(new URL('../../../clients/node/package.json', import.meta.url));
const { Locks, LockError } = fromPackage('./dist/index.js');

const flavour = process.argv[process.argv.indexOf('--flavour') + 1] ?? 'ioredis';
if (!flavours.includes(flavour)) throw new RangeError(`there is no flavour ${flavour}`);
if (process.env.PLANTED_FAULT) plant(process.env.PLANTED_FAULT);

const FEATURES = [
    'shared',
    'counted',
    'session',
    'keys',
    'scope',
    'max',
    'cool',
    'delay',
    'downgrade',
    'durable',
    'elect',
    'observe',
    'tracking',
    'share-waits',
    'block',
    'sentinel',
    'cluster',
    'fake',
];

/** An error for the runner. */
class Refusal extends Error {
    constructor(kind, message) {
        super(message);
        this.kind = kind;
    }
}

const clients = new Map();
const owners = new Map();
const holds = new Map();
const leaders = new Map();
/** The acquisitions that run, by the id of their request. */
const running = new Map();

const write = (message) => process.stdout.write(`${JSON.stringify(message)}\n`);

function named(map, name, what) {
    const found = map.get(name);
    if (!found) throw new Refusal('usage', `there is no ${what} ${name}`);
    return found;
}

const client = ({ locks = 'main' }) => named(clients, locks, 'client').locks;
const hold = (request) => named(holds, request.hold, 'hold');

/** An AbortSignal that `cancel` aborts. */
async function cancellable(request, work) {
    const controller = new AbortController();
    running.set(request.id, controller);
    try {
        return await work(controller.signal);
    } catch (error) {
        if (controller.signal.aborted && error === controller.signal.reason) throw new Refusal('cancelled', 'cancelled');
        throw error;
    } finally {
        running.delete(request.id);
    }
}

async function acquire(request) {
    if (request.reentrant) throw new Refusal('unsupported', 'reentrant');
    const by = request.scope === undefined ? client(request) : named(owners, request.scope, 'scope');
    const options = {
        leaseMs: request.lease_ms,
        timeoutMs: request.timeout_ms,
        mode: request.mode,
        limit: request.limit,
        weight: request.weight,
        maxMs: request.max_ms,
        delayMs: request.delay_ms,
        session: request.session,
        renew: request.renew,
        durable: request.durable,
    };
    const taken = await cancellable(request, (signal) => by.acquire(request.keys ?? request.key, { ...options, signal }));
    holds.set(request.hold, taken);
    taken.signal.addEventListener('abort', () =>
        write({ event: 'lost', hold: request.hold, reason: taken.signal.reason.reason }),
    );
    return { owner: taken.owner, ...(request.keys ? { fences: taken.fences } : { fence: taken.fence }) };
}

const actions = {
    hello: () => ({ client: `node-${flavour}`, library: library(flavour), features: FEATURES }),

    connect(request) {
        const locks = new Locks(backend(flavour, request), {
            label: request.label,
            requestTimeoutMs: request.request_timeout_ms,
            maxWaits: request.max_connections,
            shareWaits: request.share_waits,
        });
        clients.set(request.locks ?? 'main', { locks });
        return {};
    },

    owner(request) {
        const owner = client(request).owner();
        owners.set(request.scope, owner);
        return { owner: owner.name };
    },

    acquire,

    cancel(request) {
        running.get(request.request)?.abort();
        return {};
    },

    extend: async (request) => (await hold(request).extend(request.lease_ms), {}),
    downgrade: async (request) => (await hold(request).downgrade(), {}),
    release: async (request) => (await hold(request).release({ coolMs: request.cool_ms }), {}),
    held: (request) => ({ held: hold(request).held && !hold(request).signal.aborted }),
    check: async (request) => ({ held: (await hold(request).check()) !== null }),

    async elect(request) {
        const leadership = await cancellable(request, (signal) =>
            client(request).elect(request.key, {
                leaseMs: request.lease_ms,
                session: request.session ?? false,
                timeoutMs: request.timeout_ms,
                signal,
            }),
        );
        leaders.set(request.leader, leadership);
        leadership.signal.addEventListener('abort', () =>
            write({ event: 'lost', hold: request.leader, reason: leadership.signal.reason.reason }),
        );
        return { fence: leadership.fence, owner: leadership.owner };
    },

    resign: async (request) => (await named(leaders, request.leader, 'leader').resign(), {}),

    async observe(request) {
        const observation = await client(request).observe(request.key);
        observation.on('change', (leader) =>
            write({ event: 'leader', observer: request.observer, owner: leader?.owner ?? null }),
        );
        return { owner: observation.leader?.owner ?? null };
    },

    async info(request) {
        const info = await client(request).info(request.key);
        return { holders: info?.holders.map((it) => it.owner) ?? [], waiters: info?.waiters ?? 0 };
    },

    block(request) {
        const end = performance.now() + request.for_ms;
        while (performance.now() < end);
        return {};
    },

    stats(request) {
        const stats = client(request).stats;
        return { connections_opened: stats.connectionsOpened, ...stats };
    },

    async close(request) {
        await client(request).close();
        return {};
    },
};

const KINDS = {
    NOT_ACQUIRED: 'timeout',
    NOT_HELD: 'not-held',
    NOT_DURABLE: 'not-durable',
    UNREACHABLE: 'connection',
    CLOSED: 'closed',
    DEADLOCK: 'deadlock',
    WRONG_TYPE: 'wrong-type',
    NO_PERMISSION: 'no-permission',
    TOO_MANY: 'too-many',
    SERVER: 'server',
};

function kindOf(error) {
    if (error instanceof Refusal) return error.kind;
    if (error instanceof LockError) return KINDS[error.code];
    if (error instanceof TypeError || error instanceof RangeError) return 'usage';
    throw error;
}

async function serve(request) {
    const action = actions[request.do];
    try {
        if (!action) throw new Refusal('unsupported', request.do);
        write({ id: request.id, ok: await action(request) });
    } catch (error) {
        write({ id: request.id, error: { kind: kindOf(error), message: error.message } });
    }
}

createInterface({ input: process.stdin }).on('line', (line) => {
    void serve(JSON.parse(line));
});
process.stdin.on('end', () => process.exit(0));
