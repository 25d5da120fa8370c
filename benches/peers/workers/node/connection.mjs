// Connections of ioredis with its default settings.

import { once } from 'node:events';

import { Redis } from 'ioredis';

import { versionOf } from './peer.mjs';

export const CLIENT = `ioredis ${versionOf('ioredis')}`;

/**
 * @param {import('./job.mjs').Job} job
 * @param {(error: Error) => void} fail called when the connection is lost and nobody here closed it: the run is void
 *   then, and ioredis would connect anew and try for long
 */
export async function connect(job, fail) {
    const redis = new Redis(job.address);
    let closed = false;
    redis.on('error', (error) => fail(error));
    redis.on('close', () => closed || fail(new Error('the connection to the server was lost')));
    await once(redis, 'ready');
    return {
        redis,
        /** Fulfilled when the server has closed its end too. */
        async close() {
            if (closed) return;
            closed = true;
            const end = once(redis, 'end');
            redis.disconnect();
            await end;
        },
    };
}
