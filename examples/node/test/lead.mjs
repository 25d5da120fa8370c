// A leader that says so, and leads until it is killed: lead.mjs <lock>

import { Redis } from 'ioredis';
import { lead } from '../leader.mjs';

await lead(new Redis(process.env.REDIS_URL), process.argv[2], async (fence) => {
    process.send(fence);
    await new Promise(() => setInterval(() => {}, 60_000));
});
