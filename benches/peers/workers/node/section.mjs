// What a holder does for a while.

import { setImmediate as turn, setTimeout as sleep } from 'node:timers/promises';

/** Shorter ones poll the clock: the timers of Node count whole milliseconds. */
const POLL_BELOW_US = 2_000;

/**
 * Lets so much time pass. While it does, the event loop turns, so that the process's other clients go on.
 *
 * @param {number} us
 */
export async function section(us) {
    if (us >= POLL_BELOW_US) return sleep(us / 1_000);
    const end = performance.now() + us / 1_000;
    while (performance.now() < end) await turn();
}
