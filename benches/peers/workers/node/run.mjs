// The clients of a job: each takes its lock, holds it, releases it, and at once again.
//
// How it stops: the client that holds the lock when the span is over keeps it until every wait has been given up, and
// releases it last. So no wait is granted that nobody would end.

import { setTimeout as sleep } from 'node:timers/promises';

import { Watch } from './watch.mjs';

/** How long the clients may take to end, beside the time of one section. */
const ENDING_MS = 10_000;

export class Run {
    errors = 0;
    gaveUp = 0;
    /** The length of the measured span, in seconds. */
    elapsedS = 0;
    /** @type {Watch[]} */
    watches = [];

    /** @type {(cause: Error) => void} */
    #reject = () => {};
    /**
     * Rejects with the first failure.
     *
     * @type {Promise<never>}
     */
    failed = new Promise((_, reject) => (this.#reject = reject));

    #job;
    /** @type {import('./peer.mjs').Peer | undefined} */
    #peer;
    /** @type {Looping[]} */
    #clients = [];
    /** @type {Promise<void>[]} */
    #ends = [];
    #measuring = false;
    #stopping = false;
    #givenUp = false;

    /** @param {import('./job.mjs').Job} job */
    constructor(job) {
        this.#job = job;
        this.failed.catch(() => {}); // Whoever waits for it handles it.
    }

    /** @param {import('./peer.mjs').Connect} connect */
    async open(connect) {
        const job = this.#job;
        this.#peer = await connect(job, (error) => this.fail(error));
        this.watches = Array.from({ length: job.contended ? 1 : job.clients }, () => new Watch(job.clients));
        for (let id = 0; id < job.clients; id++) {
            const lock = await this.#peer.client(job.keyOf(id));
            this.#clients.push({ id, lock, watch: this.watches[id % this.watches.length], giveUp: () => {} });
        }
    }

    start() {
        this.#ends = this.#clients.map((client) => this.#loop(client));
    }

    /**
     * Lets the clients run for so long, or throws what made one fail.
     *
     * @param {number} seconds
     */
    async letRun(seconds) {
        await Promise.race([sleep(seconds * 1_000), this.failed]);
    }

    async measure() {
        const begin = performance.now();
        for (const watch of this.watches) watch.begin();
        this.#measuring = true;
        try {
            await this.letRun(this.#job.seconds);
        } finally {
            this.#measuring = false;
            for (const watch of this.watches) watch.end();
            this.elapsedS = (performance.now() - begin) / 1_000;
        }
    }

    /** Lets every client end after its turn, and gives the waits up. */
    async stop() {
        this.#stopping = true;
        const tooLate = new Error('clients did not end after the measured span');
        const deadline = sleep(ENDING_MS + this.#job.sectionUs / 1_000).then(() => this.fail(tooLate));
        await Promise.race([Promise.all(this.#ends), deadline, this.failed]);
    }

    /** @param {Error} cause */
    fail(cause) {
        this.errors++;
        this.#reject(cause);
    }

    /** @param {Looping} client */
    async #loop(client) {
        try {
            while (!this.#stopping && (await this.#turn(client)));
        } catch (error) {
            this.fail(error instanceof Error ? error : new Error(String(error)));
        }
    }

    /**
     * @param {Looping} client
     * @returns false if the wait was given up
     */
    async #turn(client) {
        const { watch } = client;
        watch.asked(client.id);
        if (!(await this.#acquire(client))) return false;
        watch.granted(client.id);
        // Not awaited where there is none, so that the loop gives no turn away.
        if (this.#job.contended && this.#job.sectionUs > 0) await watch.section(this.#job.sectionUs);
        else watch.pass();
        if (this.#stopping && this.#job.contended) await this.#giveUpWaits();
        watch.releasing();
        await client.lock.release();
        return true;
    }

    /** @param {Looping} client */
    async #acquire(client) {
        while (!(await acquireOrGiveUp(client))) {
            if (this.#measuring) this.gaveUp++;
            if (this.#givenUp || this.#stopping) return false;
        }
        return true;
    }

    async #giveUpWaits() {
        if (this.#givenUp) return;
        this.#givenUp = true;
        const waiting = this.#clients.filter((client) => client.watch.waits(client.id));
        for (const client of waiting) client.giveUp();
        await this.#peer?.giveUp(waiting.map((client) => client.lock));
    }
}

/**
 * @typedef {object} Looping
 * @property {number} id
 * @property {import('./peer.mjs').Client} lock
 * @property {Watch} watch
 * @property {() => void} giveUp ends the wait that is under way, if any
 */

/**
 * @param {Looping} client
 * @returns {Promise<boolean>} false if the library gave up, or the run did
 */
function acquireOrGiveUp(client) {
    return new Promise((resolve, reject) => {
        client.giveUp = () => resolve(false);
        client.lock.acquire().then(resolve, reject);
    });
}
