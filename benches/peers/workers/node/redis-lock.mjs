// The commands of redis-lock over ioredis. A wait keeps a connection busy, so each client has one.

import { randomUUID } from 'node:crypto';

import { CLIENT, connect } from './connection.mjs';

/** @type {import('./peer.mjs').Entry[]} */
export const ENTRIES = [
    {
        about: {
            peer: 'redis-lock',
            row: 'defaults',
            library: 'redis-lock',
            version: 'the module of the server',
            client: CLIENT,
            settings:
                'LOCK.ACQUIRE key owner PX lease BLOCK 0, LOCK.RELEASE key owner; a new owner (UUID) for each ' +
                'acquisition, a connection for each client',
            links: ['https://github.com/redis/ioredis#readme'],
        },
        connect: async (job, fail) => new RedisLock(job, fail),
    },
];

class RedisLock {
    /** @type {Map<import('./peer.mjs').Client, { close: () => Promise<void> }>} */
    #connections = new Map();
    #job;
    #fail;

    /**
     * @param {import('./job.mjs').Job} job
     * @param {(error: Error) => void} fail
     */
    constructor(job, fail) {
        this.#job = job;
        this.#fail = fail;
    }

    /** @param {string} key */
    async client(key) {
        const connection = await connect(this.#job, this.#fail);
        const { redis } = connection;
        const lease = String(this.#job.leaseMs);
        let owner = '';
        const client = {
            async acquire() {
                owner = randomUUID();
                return (await redis.call('LOCK.ACQUIRE', key, owner, 'PX', lease, 'BLOCK', '0')) !== null;
            },
            async release() {
                const released = await redis.call('LOCK.RELEASE', key, owner);
                if (released !== 1) throw new Error('the hold had ended before its release');
            },
        };
        this.#connections.set(client, connection);
        return client;
    }

    /** @param {import('./peer.mjs').Client[]} waiting */
    async giveUp(waiting) {
        await Promise.all(waiting.map((client) => this.#connections.get(client)?.close()));
    }
}
