// The fake server: the package behaves over it as over a real one.

import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { Deadlock, Locks, NotAcquired, NotDurable, NotHeld, ServerError } from 'redis-lock-client';
import { FakeServer } from 'redis-lock-client/fake';
import { aborted, delay, until } from './support/until.mjs';

let server;
let locks;

beforeEach(() => {
    server = new FakeServer();
    locks = new Locks(server, { label: 'tests' });
});
afterEach(() => locks.close());

const waits = (many, key = 'k') =>
    until(async () => ((await locks.info(key))?.waiters ?? 0) === many, `${many} wait`);

test('a lock goes to the next in line, with a larger fence', async () => {
    const first = await locks.acquire('k');
    assert.equal(await locks.tryAcquire('k'), null);
    const order = [];
    const work = [1, 2, 3].map(async (n) => {
        await until(async () => ((await locks.info('k'))?.waiters ?? 0) === n - 1, 'it is its turn to stand in line');
        await locks.using('k', (hold) => order.push([n, hold.fence]));
    });
    await waits(3);
    await first.release();
    await Promise.all(work);
    assert.deepEqual(order.map(([n]) => n), [1, 2, 3]);
    assert.ok(order.every(([, fence], at) => fence > (order[at - 1]?.[1] ?? first.fence)));
    assert.equal(await locks.info('k'), null);
});

test('time that passes at the server ends leases, and holders are told', async () => {
    const hold = await locks.acquire('k', { leaseMs: 60_000, delayMs: 1000 });
    await delay(100);
    server.advance(60_000);
    assert.ok((await aborted(hold.signal)) instanceof NotHeld);
    assert.equal((await locks.info('k')).mode, 'cooling');
    server.advance(1000);
    await locks.using('k', { timeoutMs: 0 }, () => undefined);
});

test('an operator ends a hold', async () => {
    const hold = await locks.acquire('k');
    await delay(100);
    assert.equal(server.remove('k'), true);
    await aborted(hold.signal);
    assert.equal(server.remove('k'), false);
});

test('cancelled waits and broken connections leave nothing', async () => {
    const held = await locks.acquire('k');
    await assert.rejects(locks.acquire('k', { timeoutMs: 30 }), NotAcquired);
    const controller = new AbortController();
    const waiting = locks.acquire('k', { signal: controller.signal });
    await waits(1);
    controller.abort();
    await assert.rejects(waiting, { name: 'AbortError' });
    await waits(0);
    const again = locks.acquire('k');
    await waits(1);
    server.disconnect();
    await waits(1);
    await held.release();
    await (await again).release();
    assert.equal(await locks.info('k'), null);
});

test('shared, counted and several locks', async () => {
    const readers = [await locks.acquire('k', { mode: 'shared' }), await locks.acquire('k', { mode: 'shared' })];
    assert.equal(await locks.tryAcquire('k'), null);
    await Promise.all(readers.map((reader) => reader.release()));
    const three = await locks.semaphore('s', 4).acquire({ weight: 3 });
    assert.equal(await locks.semaphore('s', 4).tryAcquire({ weight: 2 }), null);
    const both = await locks.acquire(['a', 'b']);
    assert.equal(both.fences.length, 2);
    const waiting = locks.acquire(['b', 'c']);
    await waits(1, 'c');
    assert.equal(await locks.tryAcquire('c'), null);
    await both.extend(90_000);
    await both.release();
    await (await waiting).release();
    await three.release();
    const writer = await locks.acquire('k');
    await writer.downgrade();
    await locks.using('k', { mode: 'shared' }, () => undefined);
    // Another client that uses the same name is refused, and takes nothing away.
    await assert.rejects(locks.owner(writer.owner).acquire('k'), ServerError);
    assert.equal((await locks.info('k')).holdersCount, 1);
    const owner = locks.owner();
    const own = await owner.acquire('o');
    await assert.rejects(owner.acquire(['p', 'o']), /holds o already/);
    await own.release();
    await (await owner.acquire('o')).release();
    await writer.release();
});

test('sessions, deadlocks, durable grants and periods', async () => {
    const session = await locks.acquire('k', { session: true });
    server.disconnect();
    await aborted(session.signal);
    const [one, two] = [locks.owner('one'), locks.owner('two')];
    const holds = [await one.acquire('a'), await two.acquire('b')];
    const waiting = one.acquire('b');
    await waits(1, 'b');
    await assert.rejects(two.acquire('a'), Deadlock);
    await holds[1].release();
    await (await waiting).release();
    await holds[0].release();
    await assert.rejects(locks.acquire('d', { durable: 1 }), NotDurable);
    const replicated = new Locks(new FakeServer({ replicas: 2 }));
    await replicated.using('d', { durable: 2 }, () => undefined);
    await replicated.close();
    assert.deepEqual(await locks.oncePer('job', 60_000, () => 1), { ran: true, value: 1 });
    assert.deepEqual(await locks.oncePer('job', 60_000, () => 1), { ran: false });
    server.advance(60_000);
    assert.deepEqual(await locks.oncePer('job', 60_000, () => 2), { ran: true, value: 2 });
});

test('locks are listed, and observers are told', async () => {
    const observation = await locks.observe('leader');
    const leadership = await locks.elect('leader');
    await until(() => observation.leader?.owner === leadership.owner, 'the leader is seen');
    const waiting = locks.acquire('leader', { timeoutMs: 60_000 });
    await waits(1, 'leader');
    const listed = [];
    for await (const lock of locks.list({ match: 'lea*' })) listed.push(lock.key);
    assert.deepEqual(listed, ['leader']);
    for await (const lock of locks.list({ match: 'x*' })) assert.fail(lock.key);
    assert.equal((await locks.top({ by: 'waited' }))[0].waiters, 1);
    await leadership.resign();
    await (await waiting).release();
    await until(() => observation.leader === null, 'nobody leads');
    observation.close();
});
