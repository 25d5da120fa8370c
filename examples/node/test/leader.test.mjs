import assert from 'node:assert/strict';
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { lead } from '../leader.mjs';
import { clients } from './clients.mjs';
import { until } from './until.mjs';

let own;
let client; // an operator
let locks;
before(async () => {
    own = await clients.ioredis.connect();
    client = own.redis;
    locks = own.locks;
});
after(() => clients.ioredis.close(own));

const counter = async (name) => {
    const info = await client.info('redislock');
    return Number(new RegExp(`^redislock_${name}:(\\d+)`, 'm').exec(info)[1]);
};

test('a killed leader is replaced although its lease goes on', { timeout: 120_000 }, async () => {
    const first = fork(fileURLToPath(new URL('lead.mjs', import.meta.url)), ['leader']);
    try {
        const [fence] = await once(first, 'message');
        const sessionEnds = await counter('session_ends');
        const second = lead(locks, 'leader', async (itsFence, lost) => {
            assert.ok(itsFence > fence);
            assert.equal(lost.aborted, false);
        });
        await until(async () => (await counter('waiters')) === 1, 'one waits');
        first.kill('SIGKILL');
        await second;
        assert.equal(await counter('session_ends'), sessionEnds + 1);
    } finally {
        first.kill('SIGKILL');
    }
    await until(async () => (await client.exists('leader')) === 0, 'the lock is free');
});

test('a leader whose connection is closed knows', { timeout: 120_000 }, async () => {
    await lead(locks, 'leader', async (_, lost) => {
        const leader = (await client.client('LIST')).match(/^id=(\d+) .* cmd=lock.acquire /m)[1];
        await client.client('KILL', 'ID', leader);
        if (!lost.aborted) await once(lost, 'abort');
    });
    await until(async () => (await client.exists('leader')) === 0, 'the lock is free');
});
