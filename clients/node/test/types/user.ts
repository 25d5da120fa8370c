// A user's program, compiled with `tsc --strict` as an ES module and as CommonJS. It is not run.

import { Redis, Cluster } from 'ioredis';
import { createClient, createCluster } from 'redis';
import {
    Deadlock,
    type Hold,
    type LeaderInfo,
    LockError,
    type LockInfo,
    Locks,
    NotAcquired,
    NotHeld,
    type OnceResult,
} from 'redis-lock-client';
import { FakeServer } from 'redis-lock-client/fake';
import { ioredis } from 'redis-lock-client/ioredis';
import { nodeRedis, nodeRedisCluster, nodeRedisSentinel } from 'redis-lock-client/node-redis';
import { instrument, type Meter } from 'redis-lock-client/opentelemetry';

export const clients: Locks[] = [
    new Locks(ioredis(new Redis()), { label: 'orders', leaseMs: 10_000, shareWaits: true }),
    new Locks(ioredis(new Cluster([{ host: '127.0.0.1', port: 7000 }]))),
    new Locks(nodeRedis(createClient({ url: 'redis://127.0.0.1' }))),
    new Locks(nodeRedisCluster(createClient, { rootNodes: [{ url: 'redis://127.0.0.1:7000' }] })),
    new Locks(nodeRedisSentinel(createClient, { name: 'mymaster', sentinelRootNodes: [{ host: 'a', port: 26379 }] })),
    new Locks(new FakeServer({ replicas: 1 })),
];
void createCluster;

export async function program(locks: Locks, meter: Meter, signal: AbortSignal): Promise<number> {
    const stop: () => void = instrument(locks, meter);
    const sum: number = await locks.using('orders:42', { leaseMs: 10_000, timeoutMs: 5000, signal }, async (hold) => {
        await fetch('http://127.0.0.1', { headers: { 'X-Fence': String(hold.fence) }, signal: hold.signal });
        return hold.fence + 1;
    });
    const text: string = await locks.using(['a', Buffer.from('b')], () => 'text');

    await using hold = await locks.acquire('orders:42', { mode: 'shared', durable: { replicas: 1 } });
    const maybe: Hold | null = await locks.tryAcquire('k', { limit: 5, weight: 2 });
    await maybe?.release({ coolMs: 1000 });
    await locks.semaphore('gpu', 4).using({ weight: 2 }, (it) => it.extend());
    await locks.rwlock('prices').read.using((it) => it.check());
    await locks.owner().acquire(['x', 'y'], { session: true });
    const once: OnceResult<boolean> = await locks.oncePer('hourly', 3_600_000, () => true);
    if (once.ran) console.log(once.value);

    await using leadership = await locks.elect('leader', { session: false, signal });
    console.log(leadership.leading, leadership.fence);
    for await (const leader of await locks.observe('leader')) {
        const known: LeaderInfo | null = leader;
        if (known) break;
    }
    const info: LockInfo | null = await locks.info('k');
    for await (const lock of locks.list({ match: 'orders:*' })) console.log(lock.key, lock.ttlMs);
    locks.on('lost', ({ reason }) => console.log(reason satisfies string)).once('acquired', ({ waitedMs }) => waitedMs);

    try {
        await locks.acquire('k');
    } catch (error) {
        if (error instanceof Deadlock) console.log(error.cycle[0]?.owner);
        else if (error instanceof NotHeld) console.log(error.reason);
        else if (!(error instanceof NotAcquired || error instanceof LockError)) throw error;
    }

    // @ts-expect-error a time is a number of milliseconds
    void locks.acquire('k', { leaseMs: '10s' });
    // @ts-expect-error several keys cannot be counted
    void locks.acquire(['a', 'b'], { limit: 3 });
    // @ts-expect-error there is no such event
    locks.on('found', () => undefined);
    // @ts-expect-error a backend is needed
    void new Locks(new Redis());
    // @ts-expect-error the fence is read-only
    hold.fence = 1;
    stop();
    return sum + text.length + (info?.waiters ?? 0);
}
