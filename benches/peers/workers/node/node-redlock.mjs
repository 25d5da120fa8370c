// The package redlock over ioredis: polls with EVALSHA. One connection for each server, as its documentation has it.

import Redlock, { ResourceLockedError } from 'redlock';

import { CLIENT, connect } from './connection.mjs';
import { versionOf } from './peer.mjs';

// Left at the default of 10 it gives up after some 2 s. -1 retries without limit.
const FOREVER = { retryCount: -1 };

// What its documentation offers for contention is retryDelay and retryJitter (200 and 100 ms if left out). All clients
// share one process: where they try more often than so many times a second in all, they keep the holder from running
// and the lock is granted less often, not more; seldom tried, one client takes all turns. Found by trying 500 to 4000
// with 10 and 100 clients.
const TUNED_TRIES_PER_S = 2_000;

/** @type {import('./peer.mjs').Entry[]} */
export const ENTRIES = [
    entry('defaults', 'retryDelay and retryJitter left out', () => FOREVER),
    entry('tuned', `retryDelay=retryJitter=clients / ${TUNED_TRIES_PER_S} s`, (job) => {
        const delayMs = Math.max(1, Math.round((job.clients * 1_000) / TUNED_TRIES_PER_S));
        return { ...FOREVER, retryDelay: delayMs, retryJitter: delayMs };
    }),
];

/**
 * @param {string} row
 * @param {string} text
 * @param {(job: import('./job.mjs').Job) => Partial<import('redlock').Settings>} settings
 * @returns {import('./peer.mjs').Entry}
 */
function entry(row, text, settings) {
    return {
        about: {
            peer: 'node-redlock',
            row,
            library: 'redlock',
            version: versionOf('redlock'),
            client: CLIENT,
            settings:
                'new Redlock([client], ...), acquire([key], lease), release; one connection; ' +
                `retryCount=-1 so that it waits without limit, ${text}`,
            links: [
                'https://github.com/mike-marcacci/node-redlock#configuration',
                'https://github.com/mike-marcacci/node-redlock/issues/149',
            ],
        },
        connect: async (job, fail) => {
            const peer = new NodeRedlock(job, fail, settings(job));
            await peer.open();
            return peer;
        },
    };
}

class NodeRedlock {
    #job;
    #fail;
    #settings;
    /** @type {Redlock | undefined} */
    #redlock;
    /** @type {() => Promise<void>} */
    #close = async () => {};

    /**
     * @param {import('./job.mjs').Job} job
     * @param {(error: Error) => void} fail
     * @param {Partial<import('redlock').Settings>} settings
     */
    constructor(job, fail, settings) {
        this.#job = job;
        this.#fail = fail;
        this.#settings = settings;
    }

    async open() {
        const { redis, close } = await connect(this.#job, this.#fail);
        let closed = false;
        const redlock = new Redlock([redis], this.#settings);
        redlock.on('error', (/** @type {Error} */ error) => {
            // That the lock is busy is told as an error too. All others count as busy, and would be retried for ever.
            if (!(error instanceof ResourceLockedError) && !closed) this.#fail(error);
        });
        this.#redlock = redlock;
        this.#close = () => {
            closed = true;
            return close();
        };
    }

    /** @param {string} key */
    async client(key) {
        /** @type {import('redlock').Lock | undefined} */
        let lock;
        return {
            acquire: async () => {
                lock = await this.#redlock?.acquire([key], this.#job.leaseMs);
                return true;
            },
            // Any instance can release; after giveUp it is another one.
            release: async () => lock && this.#redlock?.release(lock),
        };
    }

    /** There is no way to cancel an acquire: its retries go on over a closed connection. */
    async giveUp() {
        await this.#close();
        await this.open();
    }
}
