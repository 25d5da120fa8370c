// The package redlock over ioredis: polls with EVALSHA. One connection for each server, as its documentation has it.

import Redlock, { ResourceLockedError } from 'redlock';

import { CLIENT, connect } from './connection.mjs';
import { versionOf } from './peer.mjs';

// Left at the default of 10 it gives up after some 2 s. -1 retries without limit.
const FOREVER = { retryCount: -1 };

/** @type {import('./peer.mjs').Entry[]} */
export const ENTRIES = [
    entry('defaults', FOREVER, 'retryCount=-1 so that it waits without limit, retryDelay and retryJitter left out'),
];

/**
 * @param {string} row
 * @param {Partial<import('redlock').Settings>} settings
 * @param {string} text
 * @returns {import('./peer.mjs').Entry}
 */
function entry(row, settings, text) {
    return {
        about: {
            peer: 'node-redlock',
            row,
            library: 'redlock',
            version: versionOf('redlock'),
            client: CLIENT,
            settings: `new Redlock([client], ...), acquire([key], lease), release; one connection; ${text}`,
            links: [
                'https://github.com/mike-marcacci/node-redlock#configuration',
                'https://github.com/mike-marcacci/node-redlock/issues/149',
            ],
        },
        connect: async (job, fail) => {
            const peer = new NodeRedlock(job, fail, settings);
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
        redlock.on('error', (error) => {
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
