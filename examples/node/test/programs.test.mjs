import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';
import { clients } from './clients.mjs';

const { connect, send, close } = clients.ioredis;
let operator;
before(async () => {
    operator = await connect();
});
after(() => close(operator));

const program = (name, ...args) => {
    const file = fileURLToPath(new URL(`../${name}`, import.meta.url));
    return promisify(execFile)(process.execPath, [file, ...args], { timeout: 60_000 });
};

test('the program for ioredis works on an order, and frees it', async () => {
    const { stdout } = await program('ioredis.mjs', 'orders:42');
    assert.match(stdout, /^working on orders:42 with fence \d+\n$/);
    assert.equal(await send(operator, 'EXISTS', 'orders:42'), 0);
});

test('the program for ioredis says if somebody else has the order', async () => {
    await send(operator, 'LOCK.ACQUIRE', 'orders:43', 'somebody', 'EX', '600');
    const { stderr } = await program('ioredis.mjs', 'orders:43');
    assert.match(stderr, /somebody else works on it/);
    await send(operator, 'LOCK.RELEASE', 'orders:43', 'somebody');
});

test('the program for node-redis does its job once', async () => {
    assert.equal((await program('node-redis.mjs')).stdout, 'writing the report\n');
    assert.equal((await program('node-redis.mjs')).stdout, 'it was done already\n');
    await send(operator, 'DEL', 'hourly:report');
});
