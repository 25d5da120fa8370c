// Both clients, as the tests use them.

import { Redis } from 'ioredis';
import { createClient } from 'redis';
import { Locks, NotAcquired, NotHeld } from 'redis-lock-client';
import { ioredis } from 'redis-lock-client/ioredis';
import { nodeRedis } from 'redis-lock-client/node-redis';

const common = {
    NotAcquired,
    NotHeld,
    withLock: ({ locks }, key, { waitMs = 0, ...options }, work) =>
        locks.using(key, { ...options, timeoutMs: waitMs }, work),
};

/** So that the tests can count connections. */
const options = { label: 'examples', idleConnections: 0, tracking: false };

export const clients = {
    ioredis: {
        ...common,
        /** A client whose answers may take so long at most. */
        connect: async (url = process.env.REDIS_URL, timeoutMs = undefined) => {
            const redis = new Redis(url, { commandTimeout: timeoutMs });
            redis.on('error', () => {});
            await redis.ping();
            return { redis, locks: new Locks(ioredis(redis), options) };
        },
        send: ({ redis }, command, ...args) => redis.call(command, ...args),
        close: async ({ redis, locks }) => {
            await locks.close();
            redis.disconnect();
        },
    },
    'node-redis': {
        ...common,
        connect: async (url = process.env.REDIS_URL, timeoutMs = undefined) => {
            // A PING keeps an idle connection from running into the time-out.
            const pingInterval = timeoutMs && timeoutMs / 4;
            const redis = createClient({ url, pingInterval, socket: { socketTimeout: timeoutMs } });
            redis.on('error', () => {});
            await redis.connect();
            return { redis, locks: new Locks(nodeRedis(redis), options) };
        },
        send: ({ redis }, ...args) => redis.sendCommand(args),
        close: async ({ redis, locks }) => {
            await locks.close();
            redis.destroy();
        },
    },
};
