// Many processes on one lock. It takes some minutes and gigabytes, so it runs only with HOT_LOCK=<processes>.

import assert from 'node:assert/strict';
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Server } from './support/server.mjs';
import { delay, until } from './support/until.mjs';

const PROCESSES = Number(process.env.HOT_LOCK ?? 0);
const TASKS = 5;
const script = fileURLToPath(new URL('support/worker.mjs', import.meta.url));

let server;
const workers = [];
before(async () => {
    if (PROCESSES > 0) server = await Server.start();
});
after(async () => {
    for (const worker of workers) worker.kill('SIGKILL');
    await server?.stop();
});

test('waits that are shared cost one waiter for each process, and processes get equal parts', {
    skip: PROCESSES === 0 && 'HOT_LOCK=<processes> runs it',
    timeout: 600_000,
}, async (t) => {
    await server.occupy('hot');
    let ready = 0;
    for (let n = 0; n < PROCESSES; n++) {
        const worker = fork(script, [server.url, 'hot', String(TASKS)]);
        workers.push(worker);
        worker.once('message', () => ready++);
        // A few at a time: starting costs more than the test.
        await until(() => n - ready < 4, 'the processes start');
    }
    await until(() => ready === PROCESSES, 'all processes are ready');
    for (const worker of workers) worker.send('start');
    await until(async () => (await server.waiters('hot')) === PROCESSES, 'each process waits');
    await delay(500);
    assert.equal(await server.waiters('hot'), PROCESSES);
    await server.vacate('hot');
    await delay(20_000);
    const counts = await Promise.all(
        workers.map(async (worker) => {
            worker.send('count');
            const [count] = await once(worker, 'message');
            return count;
        }),
    );
    const sum = counts.reduce((a, b) => a + b, 0);
    const fairness = sum ** 2 / (counts.length * counts.reduce((a, b) => a + b ** 2, 0));
    t.diagnostic(`${sum} grants in 20 s, fairness ${fairness.toFixed(4)}, from ${Math.min(...counts)} to ${Math.max(...counts)}`);
    assert.ok(fairness >= 0.95, `Jain's index is ${fairness}`);
    for (const worker of workers) worker.send('stop');
    await Promise.all(workers.map((worker) => once(worker, 'exit')));
    await server.leavesNothing();
});
