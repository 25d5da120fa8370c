// The locks over real servers, with each client library that the package knows.

import assert from 'node:assert/strict';
import { channel } from 'node:diagnostics_channel';
import { after, afterEach, before, beforeEach, describe, test } from 'node:test';
import { ClientClosed, Deadlock, Locks, NotAcquired, NotDurable, NotHeld, TooMany, WrongType } from 'redis-lock-client';
import { backends } from './support/backends.mjs';
import { Server } from './support/server.mjs';
import { aborted, blockFor, delay, until } from './support/until.mjs';

for (const { title, connect } of backends) {
    describe(title, { timeout: 240_000 }, () => {
        let server;
        let locks;
        let key;
        let keys = 0;

        before(async () => {
            server = await Server.start();
        });
        beforeEach(() => {
            key = `lock:${++keys}`;
            locks = new Locks(connect(server.url), { label: 'tests' });
        });
        afterEach(async () => {
            await locks.close();
            await server.leavesNothing();
        });
        after(() => server.stop());

        const waits = (many = 1) => until(async () => (await server.waiters(key)) === many, `${many} wait`);

        test('a lock excludes others, and fences rise', async () => {
            const first = await locks.acquire(key);
            assert.ok(first.held);
            assert.equal(await locks.tryAcquire(key), null);
            const waiting = locks.acquire(key);
            await waits();
            await first.release();
            const second = await waiting;
            assert.ok(second.fence > first.fence);
            assert.equal(first.held, false);
            await second.release();
        });

        test('using returns the result, and releases after errors too', async () => {
            assert.equal(await locks.using(key, () => 'result'), 'result');
            const broken = new Error('broken');
            await assert.rejects(locks.using(key, { leaseMs: 5000 }, () => { throw broken; }), broken);
            assert.equal(await locks.info(key), null);
        });

        test('a hold is released at the end of its block', async () => {
            const hold = await locks.acquire(key);
            await hold[Symbol.asyncDispose ?? Symbol.for('nodejs.asyncDispose')]();
            assert.equal(await locks.info(key), null);
        });

        test('a wait ends with its time, and says so', async () => {
            await server.occupy(key);
            await assert.rejects(locks.acquire(key, { timeoutMs: 100 }), NotAcquired);
            await server.vacate(key);
        });

        test('an aborted acquisition throws the reason, and leaves nothing', async () => {
            await server.occupy(key);
            const controller = new AbortController();
            const outcome = locks.acquire(key, { signal: controller.signal });
            await waits();
            const reason = new Error('not needed any more');
            controller.abort(reason);
            await assert.rejects(outcome, reason);
            await waits(0);
            await assert.rejects(locks.acquire(key, { signal: AbortSignal.abort() }), { name: 'AbortError' });
            await server.vacate(key);
        });

        test('a thousand acquisitions that are aborted at random moments leave nothing', async () => {
            const outcomes = Array.from({ length: 1000 }, async (_, n) => {
                await delay(Math.random() * 400);
                const signal = AbortSignal.timeout(Math.ceil(Math.random() * 30));
                const hold = await locks.acquire(`${key}:${n % 50}`, { signal, leaseMs: 600_000 });
                await delay(Math.random() * 10);
                await hold.release();
            });
            const results = await Promise.allSettled(outcomes);
            const wrong = results.find((it) => it.status === 'rejected' && it.reason.name !== 'TimeoutError');
            assert.equal(wrong, undefined, String(wrong?.reason));
            await server.leavesNothing();
        });

        test('a hold is renewed, and its loss is told at once', async () => {
            const hold = await locks.acquire(key, { leaseMs: 900 });
            await delay(2000);
            assert.ok(hold.held);
            assert.ok(locks.stats.renewed > 0);
            const lost = [];
            locks.on('lost', (event) => lost.push(event));
            await server.run('DEL', key);
            assert.ok((await aborted(hold.signal)) instanceof NotHeld);
            assert.equal(hold.lost, 'gone');
            assert.deepEqual(lost.map((it) => it.reason), ['gone']);
            await assert.rejects(hold.release(), NotHeld);
        });

        test('a long lease is lost at once too, because the server tells of it', async () => {
            const hold = await locks.acquire(key, { leaseMs: 30 * 24 * 3600e3 });
            await delay(200);
            assert.ok(hold.held);
            await server.run('DEL', key);
            await aborted(hold.signal);
        });

        test('a process that was blocked for longer than the lease knows, and so does the signal', async () => {
            const hold = await locks.acquire(key, { leaseMs: 200 });
            blockFor(300);
            assert.equal(hold.signal.aborted, true);
            assert.throws(() => hold.signal.throwIfAborted(), NotHeld);
            assert.equal(hold.held, false);
            assert.equal(hold.signal.reason.reason, 'expired');
        });

        test('a hold of a wait that was granted long ago is not believed', async () => {
            await server.occupy(key);
            const waiting = locks.acquire(key, { leaseMs: 3000, renew: false });
            await waits();
            await server.vacate(key);
            blockFor(4000);
            // If nobody could read the answer before the lease ran out, another wait follows, under the same name. If the
            // answer was read just before, the hold was there, and is over.
            const hold = await waiting;
            assert.ok(hold.remainingMs <= 3000);
            const believed = hold.held;
            assert.equal((await hold.check()) !== null, believed);
            if (believed) await hold.release();
        });

        test('work whose lock was lost ends with an error', async () => {
            const outcome = locks.using(key, async (hold) => {
                await server.run('DEL', key);
                await aborted(hold.signal);
            });
            await assert.rejects(outcome, NotHeld);
        });

        test('readers share, a writer does not, and a writer can become a reader', async () => {
            const { read, write } = locks.rwlock(key);
            const readers = [await read.acquire(), await read.acquire()];
            assert.equal(await write.tryAcquire(), null);
            for (const reader of readers) await reader.release();
            const writer = await write.acquire();
            assert.equal(await read.tryAcquire(), null);
            await writer.downgrade();
            assert.equal(writer.mode, 'shared');
            await (await read.acquire({ timeoutMs: 5000 })).release();
            await writer.release();
        });

        test('a semaphore gives as many units as it has', async () => {
            const semaphore = locks.semaphore(key, 5);
            const three = await semaphore.acquire({ weight: 3 });
            assert.equal(await semaphore.tryAcquire({ weight: 3 }), null);
            const two = await semaphore.acquire({ weight: 2 });
            await three.release();
            await two.release();
        });

        test('several locks are taken together, extended and released', async () => {
            const names = [`${key}:a`, Buffer.from(`${key}:b`)];
            const hold = await locks.acquire(names, { leaseMs: 5000 });
            assert.equal(hold.fences.length, 2);
            assert.equal(await locks.tryAcquire(`${key}:b`), null);
            await hold.extend(60_000);
            assert.ok((await hold.check()).ttlMs > 50_000);
            await server.run('DEL', `${key}:a`);
            await aborted(hold.signal);
            await server.leavesNothing();
        });

        test('two owners that wait for each other are told', async () => {
            const [one, two] = [locks.owner(), locks.owner('two')];
            const holds = [await one.acquire(`${key}:a`), await two.acquire(`${key}:b`)];
            const waiting = one.acquire(`${key}:b`);
            await until(async () => (await server.waiters(`${key}:b`)) === 1, 'one waits');
            await assert.rejects(two.acquire(`${key}:a`), (error) => {
                assert.ok(error instanceof Deadlock);
                assert.equal(error.cycle.length, 2);
                assert.ok(error.cycle.some((step) => step.owner === 'two'));
                return true;
            });
            await holds[1].release();
            await (await waiting).release();
            await holds[0].release();
        });

        test('a session ends with its connection', async () => {
            const hold = await locks.acquire(key, { session: true });
            const { holders } = await locks.info(key);
            assert.ok(holders[0].session > 0);
            await server.run('CLIENT', 'KILL', 'ID', String(holders[0].session));
            await aborted(hold.signal);
        });

        test('a hold ends with its longest time', async () => {
            const hold = await locks.acquire(key, { leaseMs: 300, maxMs: 600 });
            await aborted(hold.signal);
            assert.equal(hold.lost, 'max');
        });

        test('a job is done once in its period', async () => {
            let runs = 0;
            const job = () => locks.oncePer(key, 60_000, () => ++runs);
            const results = await Promise.all([job(), job(), job()]);
            assert.equal(runs, 1);
            assert.deepEqual(results.filter((it) => it.ran), [{ ran: true, value: 1 }]);
            assert.deepEqual(await job(), { ran: false });
            assert.equal((await locks.info(key)).mode, 'cooling');
            await server.run('DEL', key);
            await assert.rejects(locks.oncePer(key, 60_000, () => Promise.reject(new Error('failed'))), /failed/);
            assert.deepEqual(await job(), { ran: true, value: 2 });
            await server.run('DEL', key);
        });

        test('a holder that died delays the next one', async () => {
            await locks.acquire(key, { leaseMs: 100, renew: false, delayMs: 300 }).then((hold) => aborted(hold.signal));
            await until(async () => (await locks.info(key)) === null, 'the delay is over');
        });

        test('a grant that no replica confirms is taken back', async () => {
            const durable = { replicas: 1, timeoutMs: 50 };
            await assert.rejects(locks.acquire(key, { durable }), (error) => {
                assert.ok(error instanceof NotDurable);
                assert.deepEqual([error.confirmed, error.wanted], [0, 1]);
                return true;
            });
            await server.leavesNothing();
        });

        test('one leads after the other, and observers are told', async () => {
            const observation = await locks.observe(key);
            assert.equal(observation.leader, null);
            const seen = [];
            observation.on('change', (leader) => seen.push(leader?.owner));
            const first = await locks.elect(key);
            const candidate = locks.elect(key);
            await waits();
            await until(() => seen.includes(first.owner), 'the first is seen');
            await first.resign();
            const second = await candidate;
            assert.ok(second.leading && second.fence > first.fence);
            await until(() => observation.leader?.owner === second.owner, 'the second is seen');
            const controller = new AbortController();
            const iterated = [];
            for await (const leader of await locks.observe(key, { signal: controller.signal })) {
                iterated.push(leader?.owner ?? null);
                if (iterated.length === 1) await second.resign();
                if (leader === null) controller.abort();
            }
            assert.deepEqual(iterated, [second.owner, null]);
            observation.close();
        });

        test('locks are listed, and who waits is shown', async () => {
            const hold = await locks.acquire(key);
            const waiting = locks.acquire(key, { timeoutMs: 60_000 });
            await waits();
            const listed = [];
            for await (const lock of locks.list({ match: `${key}*`, owner: hold.owner, count: 1 })) listed.push(lock);
            assert.deepEqual([listed[0].key, listed[0].fence], [key, hold.fence]);
            const [top] = await locks.top();
            assert.deepEqual([top.key, top.waiters, top.queue.length], [key, 1, 1]);
            assert.equal((await locks.check(key, hold.owner)).waiters, 1);
            assert.match((await locks.info(key)).queue[0].owner, /^tests\//);
            const clients = await server.run('CLIENT', 'LIST');
            assert.match(clients, /name=redis-lock:tests\//);
            await hold.release();
            await (await waiting).release();
        });

        test('errors have types', async () => {
            await server.run('SET', key, 'text');
            await assert.rejects(locks.acquire(key), WrongType);
            await server.run('DEL', key);
            await server.run('CONFIG', 'SET', 'redislock.max-holders', '1');
            const hold = await locks.acquire(key, { mode: 'shared' });
            await assert.rejects(locks.acquire(key, { mode: 'shared', timeoutMs: 1000 }), TooMany);
            await server.run('CONFIG', 'SET', 'redislock.max-holders', '10000');
            await hold.release();
            await assert.rejects(locks.acquire(key, { leaseMs: -1 }), RangeError);
        });

        test('events tell what happens, to listeners and to channels', async () => {
            const names = ['acquired', 'refused', 'released', 'renewed', 'lost'];
            const told = [];
            const published = [];
            const subscriptions = names.map((name) => [channel(`redis-lock:${name}`), () => published.push(name)]);
            for (const [to, listener] of subscriptions) to.subscribe(listener);
            for (const name of names) locks.on(name, () => told.push(name));
            await locks.using(key, () => locks.tryAcquire(key));
            for (const [to, listener] of subscriptions) to.unsubscribe(listener);
            assert.deepEqual(told, ['acquired', 'refused', 'released']);
            assert.deepEqual(published, told);
            const { acquired, refused, released, holds } = locks.stats;
            assert.deepEqual({ acquired, refused, released, holds }, { acquired: 1, refused: 1, released: 1, holds: 0 });
        });

        test('closing ends waits and holds', async () => {
            await server.occupy(`${key}:taken`);
            const hold = await locks.acquire(key);
            const waiting = locks.acquire(`${key}:taken`);
            await until(async () => (await server.waiters(`${key}:taken`)) === 1, 'one waits');
            const closed = locks.close();
            await assert.rejects(waiting, ClientClosed);
            await closed;
            assert.equal(hold.held, false);
            await assert.rejects(locks.acquire(key), ClientClosed);
            await server.vacate(`${key}:taken`);
        });

        test('a hot lock costs one waiter if waits are shared', async () => {
            const sharing = new Locks(connect(server.url), { shareWaits: true });
            await server.occupy(key);
            let done = 0;
            const work = Array.from({ length: 20 }, () => sharing.using(key, () => void done++));
            await waits(1);
            await delay(100);
            assert.equal(await server.waiters(key), 1);
            await server.vacate(key);
            await Promise.all(work);
            assert.equal(done, 20);
            await sharing.close();
        });

        test('a client that keeps no idle connections closes those of its waits', async () => {
            const frugal = new Locks(connect(server.url), { idleConnections: 0, tracking: false });
            await frugal.using(key, () => undefined);
            const connections = async () => (await server.run('CLIENT', 'LIST')).trim().split('\n').length;
            const others = await connections();
            await server.occupy(key);
            const work = Array.from({ length: 5 }, () => frugal.using(key, () => undefined));
            await waits(5);
            assert.equal(await connections(), others + 5);
            await server.vacate(key);
            await Promise.all(work);
            await until(async () => (await connections()) === others, 'the connections are closed');
            await frugal.close();
        });

        test('holds outlive a server that stands still for less than their lease', async () => {
            const holds = await Promise.all(
                Array.from({ length: 300 }, (_, n) => locks.acquire(`${key}:${n}`, { leaseMs: 10_000 })),
            );
            const opened = locks.stats.connectionsOpened;
            server.pause();
            await delay(4000);
            server.resume();
            await delay(2000);
            assert.equal(holds.filter((hold) => !hold.held).length, 0);
            assert.ok(locks.stats.connectionsOpened - opened <= 3, String(locks.stats.connectionsOpened - opened));
            await Promise.all(holds.map((hold) => hold.release()));
        });
    });
}
