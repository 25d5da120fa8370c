// One of many processes that want the same lock: worker.mjs <url> <key> <tasks>. It starts when it is told to, and says in
// the end how many times it had the lock.

import { Redis } from 'ioredis';
import { Locks } from 'redis-lock-client';
import { ioredis } from 'redis-lock-client/ioredis';

const [url, key, tasks] = process.argv.slice(2);
const locks = new Locks(ioredis(new Redis(url, { lazyConnect: true })), { shareWaits: true, tracking: false });
const stop = new AbortController();
let had = 0;

async function work() {
    while (!stop.signal.aborted) {
        try {
            await locks.using(key, { signal: stop.signal }, () => void had++);
        } catch (error) {
            if (error !== stop.signal.reason) throw error;
        }
    }
}

process.on('message', async (message) => {
    if (message === 'start') {
        for (let task = 0; task < Number(tasks); task++) void work();
    } else if (message === 'count') {
        process.send(had);
        had = 0;
    } else {
        stop.abort();
        await locks.close();
        process.send(had, () => process.disconnect());
    }
});
await locks.info(key);
process.send('ready');
