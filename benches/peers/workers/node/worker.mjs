// Measures one job, or lists the peers. Standard output carries JSON only, one object a line.

import { createInterface } from 'node:readline';

import { Job } from './job.mjs';
import { ENTRIES as nodeRedlock } from './node-redlock.mjs';
import { ENTRIES as redisLock } from './redis-lock.mjs';
import { Run } from './run.mjs';
import { micros, quantiles } from './samples.mjs';

const ENTRIES = [...redisLock, ...nodeRedlock];

const HANDOFF_QUANTILES = { p50: 0.5, p90: 0.9, p99: 0.99 };
const WAIT_QUANTILES = { ...HANDOFF_QUANTILES, p999: 0.999 };

/**
 * @param {unknown} event
 * @returns {Promise<void>} fulfilled when it is written
 */
function tell(event) {
    return new Promise((resolve) => process.stdout.write(`${JSON.stringify(event)}\n`, () => resolve()));
}

/** @param {Run} run */
async function awaitGo(run) {
    const lines = createInterface({ input: process.stdin });
    const go = new Promise((resolve, reject) => {
        lines.once('line', (line) =>
            line.trim() === 'go' ? resolve(undefined) : reject(new Error(`expected go, read: ${line}`)),
        );
        lines.once('close', () => reject(new Error('expected go, and standard input was closed')));
    });
    go.catch(() => {}); // It also rejects when it is closed here.
    await Promise.race([go, run.failed]);
    lines.close();
}

/**
 * @param {Job} job
 * @param {import('./peer.mjs').Entry} entry
 */
async function measure(job, entry) {
    const run = new Run(job);
    let elapsedS = 0;
    let error = null;
    try {
        await Promise.race([run.open(entry.connect), run.failed]);
        run.start();
        await run.letRun(job.warmupSeconds);
        await tell({ event: 'ready' });
        await awaitGo(run);
        elapsedS = await run.measure();
        await run.stop();
    } catch (failure) {
        console.error(failure);
        error = String(failure);
    }
    await tell(result(job, entry.about, run, elapsedS, error));
    return error === null;
}

/**
 * @param {Job} job
 * @param {import('./peer.mjs').About} about
 * @param {Run} run
 * @param {number} elapsedS
 * @param {string | null} error
 */
function result(job, { library, version, client, settings }, run, elapsedS, error) {
    const { watches } = run;
    /** @param {(watch: import('./watch.mjs').Watch) => number} of */
    const sum = (of) => watches.reduce((total, watch) => total + of(watch), 0);
    const perClient = Array.from({ length: job.clients }, (_, id) => sum((watch) => watch.grantsOf[id]));
    const sections = sum((watch) => watch.sections);
    const waitsMs = watches.flatMap((watch) => watch.waitsMs);
    const handoffsMs = watches.flatMap((watch) => watch.handoffsMs);
    const oldestMs = Math.max(0, ...watches.map((watch) => watch.oldestPendingMs));
    return {
        event: 'result',
        library,
        version,
        client,
        settings,
        grants: perClient.reduce((total, grants) => total + grants, 0),
        grants_total: sum((watch) => watch.grantsTotal),
        per_client: perClient,
        elapsed_s: elapsedS,
        gave_up: run.gaveUp,
        violations: sum((watch) => watch.violations),
        section_us_mean: sections > 0 ? micros(sum((watch) => watch.sectionsMs) / sections) : 0,
        wait_us: quantiles(waitsMs, WAIT_QUANTILES, oldestMs),
        pending: sum((watch) => watch.pending),
        handoff_us: job.contended ? quantiles(handoffsMs, HANDOFF_QUANTILES) : null,
        overtakes: sum((watch) => watch.overtakes),
        errors: run.errors,
        error,
    };
}

async function main() {
    if (process.argv.length !== 3) {
        console.error('usage: worker.mjs <job in JSON | peers>');
        return 2;
    }
    if (process.argv[2] === 'peers') {
        await tell(ENTRIES.map((entry) => entry.about));
        return 0;
    }
    const job = new Job(process.argv[2]);
    const entry = ENTRIES.find(({ about }) => about.peer === job.peer && about.row === job.row);
    if (!entry) {
        await tell({ event: 'result', error: 'no such peer and row' });
        return 1;
    }
    return (await measure(job, entry)) ? 0 : 1;
}

// Timers and connections that are left must not keep the process.
process.exit(await main());
