// A leader that is replaced as soon as its process dies. Its hold ends with its connection, which is the leader's alone.

/**
 * Waits until this process leads, and runs `work` as the leader.
 *
 * @param {import('redis-lock-client').Locks} locks
 * @param {string} key
 * @param {(fence: number, lost: AbortSignal) => Promise<void>} work stops when `lost` is aborted
 */
export async function lead(locks, key, work) {
    const leadership = await locks.elect(key, { leaseMs: 30_000 });
    try {
        await work(leadership.fence, leadership.signal);
    } finally {
        // Hands over to the next candidate. If the leadership was lost, somebody else leads already.
        if (leadership.leading) await leadership.resign();
    }
}
