// A job that runs once an hour, however many machines start it, with node-redis:  REDIS_URL=redis://... node node-redis.mjs

import { pathToFileURL } from 'node:url';
import { createClient } from 'redis';
import { Locks } from 'redis-lock-client';
import { nodeRedis } from 'redis-lock-client/node-redis';

/** Runs `job`, unless somebody runs it now or ran it in the last 50 minutes. Returns whether it ran. */
export async function hourly(locks, name, job) {
    // Shorter than the period, and longer than the clocks of the machines differ.
    const { ran } = await locks.oncePer(`hourly:${name}`, 50 * 60_000, job);
    return ran;
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
    const locks = new Locks(nodeRedis(createClient({ url: process.env.REDIS_URL })), { label: 'cron' });
    const ran = await hourly(locks, 'report', () => console.log('writing the report'));
    if (!ran) console.log('it was done already');
    await locks.close();
}
