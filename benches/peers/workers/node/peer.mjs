// What a library of locks has to offer to be measured.

import { readFileSync } from 'node:fs';

/**
 * What the report says about a library with the settings of one row.
 *
 * @typedef {object} About
 * @property {string} peer
 * @property {string} row
 * @property {string} library
 * @property {string} version
 * @property {string} client
 * @property {string} settings
 * @property {string[]} links
 */

/**
 * The lock as one client has it.
 *
 * @typedef {object} Client
 * @property {() => Promise<boolean>} acquire waits without limit; false if the library gave up: then it is called again
 * @property {() => Promise<unknown>} release
 */

/**
 * A library, connected and set up for one job.
 *
 * @typedef {object} Peer
 * @property {(key: string) => Promise<Client>} client called once for each client before any of them begins
 * @property {(waiting: Client[]) => Promise<void>} giveUp sees to it that no request of these clients reaches the
 *   server any more; called while nobody can be granted the lock. Whether their acquire ends does not matter.
 */

/**
 * Connects a peer.
 *
 * @callback Connect
 * @param {import('./job.mjs').Job} job
 * @param {(error: Error) => void} fail tells what went wrong outside of any call
 * @returns {Promise<Peer>}
 */

/** @typedef {{ about: About, connect: Connect }} Entry */

/**
 * The version that is installed.
 *
 * @param {string} name
 * @returns {string}
 */
export function versionOf(name) {
    const text = readFileSync(new URL(`node_modules/${name}/package.json`, import.meta.url), 'utf8');
    return JSON.parse(text).version.replace(/^v/, '');
}
