// One of several processes that count together: count.mjs <client> <lock> <counter> <tasks> <turns>

import { clients } from './clients.mjs';

const [name, lock, counter, tasks, turns] = process.argv.slice(2);
const { withLock, connect, send, close } = clients[name];

const client = await connect();

async function count() {
    for (let turn = 0; turn < Number(turns); turn++) {
        await withLock(client, lock, { waitMs: 120_000 }, async () => {
            // Reading and writing apart: without the lock, counts get lost.
            const value = Number(await send(client, 'GET', counter));
            await send(client, 'SET', counter, String(value + 1));
        });
    }
}

await Promise.all(Array.from({ length: Number(tasks) }, count));
await close(client);
