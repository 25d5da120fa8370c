// withLock for ioredis. Copy this file and lock.mjs.

import * as lock from './lock.mjs';

export { NotAcquired, NotHeld } from './lock.mjs';

/**
 * Runs `work` while holding the lock; see lock.mjs.
 *
 * @template T
 * @param {import('ioredis').Redis} client
 * @param {string} key
 * @param {lock.LockOptions} options
 * @param {(hold: lock.Hold) => T | Promise<T>} work
 * @returns {Promise<T>}
 */
export function withLock(client, key, options, work) {
    return lock.withLock(connections(client), key, options, work);
}

/**
 * @param {import('ioredis').Redis} client
 * @returns {lock.Connections}
 */
function connections(client) {
    return {
        send: ([command, ...args]) => client.call(command, ...args),

        dedicated(timeoutMs) {
            const connection = client.duplicate({
                // The client's own time-outs, if it has any, may lie below BLOCK. This one counts from the call on: it bounds
                // the wait also when ioredis reconnects and sends the command again (autoResendUnfulfilledCommands, at most
                // maxRetriesPerRequest times), which begins the wait anew. That it was sent twice is harmless.
                commandTimeout: timeoutMs,
                socketTimeout: undefined,
                lazyConnect: false,
                enableOfflineQueue: true,
            });
            connection.on('error', () => {}); // The command fails, or is sent again.
            return {
                send: ([command, ...args]) => connection.call(command, ...args),
                close: () => connection.disconnect(),
            };
        },
    };
}
