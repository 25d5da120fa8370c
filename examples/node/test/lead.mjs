// A leader that says so, and leads until it is killed: lead.mjs <lock>

import { lead } from '../leader.mjs';
import { clients } from './clients.mjs';

const { locks } = await clients.ioredis.connect();
await lead(locks, process.argv[2], async (fence) => {
    process.send(fence);
    await new Promise(() => setInterval(() => {}, 60_000));
});
