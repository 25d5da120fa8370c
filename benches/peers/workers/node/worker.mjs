// Measures one job, or lists the peers. Standard output carries JSON only, one object a line.

import { createInterface } from 'node:readline';

import { Job } from './job.mjs';
import { ENTRIES as nodeRedlock } from './node-redlock.mjs';
import { ENTRIES as redisLock } from './redis-lock.mjs';
import { Run } from './run.mjs';
import { micros, quantiles, quantilesOfGroups } from './samples.mjs';

const ENTRIES = [...redisLock, ...nodeRedlock];

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
    let error = null;
    try {
        await Promise.race([run.open(entry.connect), run.failed]);
        run.start();
        await run.letRun(job.warmupSeconds);
        await tell({ event: 'ready' });
        await awaitGo(run);
        await run.measure();
        await run.stop();
    } catch (failure) {
        console.error(failure);
        error = String(failure);
    }
    await tell(result(job, entry.about, run, error));
    return error === null;
}

/**
 * Complete also where nothing was measured, so that whoever reads it finds the error.
 *
 * @param {Job} job
 * @param {import('./peer.mjs').About | undefined} about
 * @param {Run} run
 * @param {string | null} error
 */
function result(job, about, run, error) {
    const { watches } = run;
    /** @param {(watch: import('./watch.mjs').Watch) => number} of */
    const sum = (of) => watches.reduce((total, watch) => total + of(watch), 0);
    const waitsMs = Array.from({ length: job.clients }, (_, id) => watches.flatMap((watch) => watch.waitsMs[id]));
    const pendingMs = new Map(watches.flatMap((watch) => [...watch.pendingMs]));
    const waitUs = quantiles(waitsMs.flat());
    // A wait that is still pending has no end, but it was that long at least.
    if (pendingMs.size > 0) waitUs.max = Math.max(waitUs.max ?? 0, micros(Math.max(...pendingMs.values())));
    const sections = sum((watch) => watch.sections);
    return {
        event: 'result',
        library: about?.library,
        version: about?.version,
        client: about?.client,
        settings: about?.settings,
        grants: waitsMs.flat().length,
        grants_total: sum((watch) => watch.grantsTotal),
        per_client: waitsMs.map((waits) => waits.length),
        elapsed_s: run.elapsedS,
        gave_up: run.gaveUp,
        violations: sum((watch) => watch.violations),
        section_us_mean: sections > 0 ? micros(sum((watch) => watch.sectionsMs) / sections) : null,
        wait_us: waitUs,
        wait_by_client_us: quantilesOfGroups(waitsMs.map((waits, id) => [...waits, ...of(pendingMs, id)])),
        pending: pendingMs.size,
        handoff_us: job.contended ? quantiles(watches.flatMap((watch) => watch.handoffsMs)) : null,
        overtakes: sum((watch) => watch.overtakes),
        errors: run.errors,
        error,
    };
}

/**
 * The value of a key, as a list that is empty where there is none.
 *
 * @param {Map<number, number>} map
 * @param {number} key
 */
function of(map, key) {
    const value = map.get(key);
    return value === undefined ? [] : [value];
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
        const run = new Run(job);
        run.errors = 1;
        await tell(result(job, undefined, run, 'no such peer and row'));
        return 1;
    }
    return (await measure(job, entry)) ? 0 : 1;
}

// Timers and connections that are left must not keep the process.
process.exit(await main());
