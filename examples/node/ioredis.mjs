// One order at a time, with ioredis:  REDIS_URL=redis://... node ioredis.mjs orders:42

import { pathToFileURL } from 'node:url';
import { Redis } from 'ioredis';
import { Locks, NotAcquired } from 'redis-lock-client';
import { ioredis } from 'redis-lock-client/ioredis';

/**
 * Runs `work` while holding the lock of this order. `work` gets the hold: it sends `hold.fence` along with each write,
 * and hands `hold.signal` to whatever can be stopped.
 */
export function withOrder(locks, order, work) {
    return locks.using(order, { leaseMs: 30_000, timeoutMs: 5_000 }, work);
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
    const locks = new Locks(ioredis(new Redis(process.env.REDIS_URL, { lazyConnect: true })), { label: 'orders' });
    locks.on('lost', ({ keys, reason }) => console.error(`lost ${keys}: ${reason}`));
    try {
        await withOrder(locks, process.argv[2], async (hold) => {
            console.log(`working on ${hold.key} with fence ${hold.fence}`);
        });
    } catch (error) {
        if (!(error instanceof NotAcquired)) throw error;
        console.error('somebody else works on it');
    } finally {
        await locks.close();
    }
}
