// Both clients, as the tests use them.

import { Redis } from 'ioredis';
import { createClient } from 'redis';
import * as ioredis from '../ioredis.mjs';
import * as nodeRedis from '../node-redis.mjs';

export const clients = {
    ioredis: {
        ...ioredis,
        /** A client whose answers may take so long at most. */
        connect: async (url = process.env.REDIS_URL, timeoutMs = undefined) => {
            const client = new Redis(url, { commandTimeout: timeoutMs });
            client.on('error', () => {});
            await client.ping();
            return client;
        },
        send: (client, command, ...args) => client.call(command, ...args),
        close: (client) => client.disconnect(),
    },
    'node-redis': {
        ...nodeRedis,
        connect: async (url = process.env.REDIS_URL, timeoutMs = undefined) => {
            // A PING keeps an idle connection from running into the time-out.
            const pingInterval = timeoutMs && timeoutMs / 4;
            const client = createClient({ url, pingInterval, socket: { socketTimeout: timeoutMs } });
            client.on('error', () => {});
            await client.connect();
            return client;
        },
        send: (client, ...args) => client.sendCommand(args),
        close: (client) => client.destroy(),
    },
};
