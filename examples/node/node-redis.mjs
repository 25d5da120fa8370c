// withLock for node-redis (the package `redis`, version 5 or later). Copy this file and lock.mjs.

import * as lock from './lock.mjs';

export { NotAcquired, NotHeld } from './lock.mjs';

/**
 * Runs `work` while holding the lock; see lock.mjs.
 *
 * @template T
 * @param {import('redis').RedisClientType} client
 * @param {string} key
 * @param {lock.LockOptions} options
 * @param {(hold: lock.Hold) => T | Promise<T>} work
 * @returns {Promise<T>}
 */
export function withLock(client, key, options, work) {
    return lock.withLock(connections(client), key, options, work);
}

/**
 * @param {import('redis').RedisClientType} client
 * @returns {lock.Connections}
 */
function connections(client) {
    return {
        send: (args) => client.sendCommand(args),

        dedicated(timeoutMs) {
            const connection = client.duplicate({
                socket: {
                    ...client.options.socket,
                    // The client's own may lie below BLOCK. Nothing else bounds a command that was sent: `commandOptions.timeout`
                    // is about those that are not sent yet.
                    socketTimeout: timeoutMs,
                    // node-redis does not send a command again that had no answer, and a wait ends with its connection.
                    reconnectStrategy: false,
                },
            });
            connection.on('error', () => {}); // Without a listener the process ends. The command fails as well, that is enough.
            const connected = connection.connect();
            return {
                send: (args) => connected.then(() => connection.sendCommand(args)),
                // Not while it connects: node-redis would leave the socket open. Closed already is an error, and fine.
                close: () => connected.then(() => connection.destroy()).catch(() => {}),
            };
        },
    };
}
