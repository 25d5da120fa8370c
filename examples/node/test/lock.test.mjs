import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { after, afterEach, before, beforeEach, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { clients } from './clients.mjs';
import { startProxy } from './proxy.mjs';
import { until } from './until.mjs';

for (const [name, { withLock, NotAcquired, NotHeld, connect, send, close }] of Object.entries(clients)) {
    describe(name, { timeout: 300_000 }, () => {
        let client; // takes locks
        let operator; // looks on and interferes
        let key;
        let keys = 0;

        before(async () => {
            client = await connect();
            operator = await connect();
            await withLock(client, 'warm', {}, () => {}); // Its connection to share is there from now on.
        });
        beforeEach(() => {
            key = `${name}:${++keys}`;
        });
        afterEach(async () => {
            await until(async () => (await waiters()) === 0, 'nobody waits any more');
            await until(async () => (await send(operator, 'EXISTS', key)) === 0, 'the lock is free');
        });
        after(async () => {
            await close(client);
            await close(operator);
        });

        async function waiters() {
            const info = await send(operator, 'INFO', 'redislock');
            return Number(/^redislock_waiters:(\d+)/m.exec(info)[1]);
        }

        async function connections() {
            return (await send(operator, 'CLIENT', 'LIST')).trim().split('\n').length;
        }

        /** Somebody else's hold, far longer than any test. */
        const occupy = () => send(operator, 'LOCK.ACQUIRE', key, 'somebody', 'EX', '600');
        const vacate = () => send(operator, 'LOCK.RELEASE', key, 'somebody');

        /** Calls withLock, and returns when it stands in line. */
        async function lineUp(options, work, by = client) {
            const before = await waiters();
            const outcome = withLock(by, key, { waitMs: 120_000, ...options }, work);
            outcome.catch(() => {}); // Looked at later.
            await until(async () => (await waiters()) === before + 1, 'one more waits');
            return { outcome };
        }

        const mustNotRun = () => assert.fail('work ran without the lock');

        test('tasks of several processes exclude each other', async () => {
            const script = fileURLToPath(new URL('count.mjs', import.meta.url));
            const [processes, tasks, turns] = [3, 4, 20];
            const count = () =>
                promisify(execFile)(process.execPath, [
                    script,
                    name,
                    key,
                    `${key}:count`,
                    String(tasks),
                    String(turns),
                ]);
            await Promise.all(Array.from({ length: processes }, count));
            assert.equal(Number(await send(operator, 'GET', `${key}:count`)), processes * tasks * turns);
        });

        test('the result of the work is returned, its error is thrown, and both release the lock', async () => {
            assert.equal(await withLock(client, key, {}, () => 'result'), 'result');
            const broken = new Error('broken');
            const thrown = withLock(client, key, {}, () => {
                throw broken;
            });
            await assert.rejects(thrown, broken);
            assert.equal(await send(operator, 'EXISTS', key), 0);
        });

        test('a released lock goes to the next in line, with a larger fence', async () => {
            const first = await occupy();
            const fences = [];
            const { outcome: second } = await lineUp({}, (hold) => fences.push(hold.fence));
            const { outcome: third } = await lineUp({}, (hold) => fences.push(hold.fence));
            await vacate();
            await Promise.all([second, third]);
            assert.ok(first < fences[0] && fences[0] < fences[1], `${first} < ${fences}`);
        });

        test('a busy lock is told at once', async () => {
            await occupy();
            await assert.rejects(withLock(client, key, {}, mustNotRun), NotAcquired);
            await vacate();
        });

        test('a wait runs out', async () => {
            await occupy();
            await assert.rejects(withLock(client, key, { waitMs: 50 }, mustNotRun), NotAcquired);
            assert.equal(await waiters(), 0);
            await vacate();
        });

        test('an aborted wait leaves the line and no connection behind', async () => {
            await occupy();
            const others = await connections();
            const wait = new AbortController();
            const { outcome } = await lineUp({ signal: wait.signal }, mustNotRun);
            const reason = new Error('not needed any more');
            wait.abort(reason);
            await assert.rejects(outcome, reason);
            await until(async () => (await waiters()) === 0, 'nobody waits');
            await until(async () => (await connections()) === others, 'no connection is left');
            await vacate();
        });

        test('a request aborted before its wait began leaves nothing behind', async () => {
            await occupy();
            const others = await connections();
            for (const turnsOfTheLoop of [0, 1, 2, 3, 4, 5]) {
                const wait = new AbortController();
                const outcome = withLock(client, key, { waitMs: 120_000, signal: wait.signal }, mustNotRun);
                outcome.catch(() => {});
                for (let turn = 0; turn < turnsOfTheLoop; turn++) await new Promise(setImmediate);
                wait.abort();
                await assert.rejects(outcome, { name: 'AbortError' });
            }
            await assert.rejects(withLock(client, key, { signal: AbortSignal.abort() }, mustNotRun), {
                name: 'AbortError',
            });
            await until(async () => (await connections()) === others, 'no connection is left');
            await vacate();
        });

        test('a hold outlasts its lease as long as the work goes on', async () => {
            const leaseMs = 3_000;
            await withLock(client, key, { leaseMs }, async (hold) => {
                const started = performance.now();
                await until(() => performance.now() > started + 2 * leaseMs || hold.signal.aborted, 'two leases pass');
                assert.equal(hold.signal.aborted, false);
                assert.equal(await send(operator, 'LOCK.ACQUIRE', key, 'somebody'), null);
            });
        });

        test('a lost hold is told by the signal, and by an error in the end', async () => {
            let told;
            const outcome = withLock(client, key, { leaseMs: 3_000 }, async (hold) => {
                await send(operator, 'DEL', key);
                await occupy();
                if (!hold.signal.aborted) await once(hold.signal, 'abort');
                told = hold.signal.reason;
            });
            await assert.rejects(outcome, NotHeld);
            assert.ok(told instanceof NotHeld);
            assert.equal(await vacate(), 1); // Not released by who had lost it.
        });

        test('a hold that was lost unnoticed is told by an error in the end', async () => {
            const outcome = withLock(client, key, { leaseMs: 600_000 }, () => send(operator, 'DEL', key));
            await assert.rejects(outcome, NotHeld);
        });

        test('a hold is given up when the server has been silent for a lease', async () => {
            const proxy = await startProxy();
            const behindIt = await connect(proxy.url);
            try {
                const outcome = withLock(behindIt, key, { leaseMs: 3_000 }, async (hold) => {
                    proxy.silent = true;
                    if (!hold.signal.aborted) await once(hold.signal, 'abort');
                });
                await assert.rejects(outcome, NotHeld);
            } finally {
                await close(behindIt);
                proxy.close();
            }
        });

        test('other commands are answered while one waits', async () => {
            await occupy();
            const { outcome } = await lineUp({}, () => 'done');
            assert.equal(await send(client, 'PING'), 'PONG');
            await vacate();
            assert.equal(await outcome, 'done');
        });

        test("a wait may be longer than the client's time-out", async () => {
            const timeoutMs = 1_000;
            const impatient = await connect(undefined, timeoutMs);
            await occupy();
            const { outcome } = await lineUp({}, () => 'done', impatient);
            const started = performance.now();
            await until(() => performance.now() > started + 2 * timeoutMs, 'twice the time-out passes');
            await vacate();
            assert.equal(await outcome, 'done');
            await close(impatient);
        });

        test('a grant whose answer was lost is asked for again, or released', async () => {
            const proxy = await startProxy();
            const behindIt = await connect(proxy.url);
            try {
                proxy.loseAnswerTo = 'LOCK.ACQUIRE';
                const outcome = withLock(behindIt, key, { leaseMs: 600_000 }, () => 'done');
                assert.equal(await outcome, 'done');
            } finally {
                await until(async () => (await send(operator, 'EXISTS', key)) === 0, 'the lock is free');
                await close(behindIt);
                proxy.close();
            }
        });
    });
}
