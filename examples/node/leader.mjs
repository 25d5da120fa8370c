// A leader that is replaced as soon as its process dies: a SESSION hold ends with its connection. For ioredis.
//
// So that connection is the leader's alone, and stays open for as long as it leads. On a shared or pooled connection the
// hold would be the pool's: it would outlive the leader, and end whenever the pool closes the connection.

import { randomUUID } from 'node:crypto';

/** The end of a leader whose machine vanished without closing the connection. */
const LEASE_MS = 30_000;

/**
 * Waits until this process leads, and runs `work` as the leader.
 *
 * @param {import('ioredis').Redis} client
 * @param {string} key
 * @param {(fence: number, lost: AbortSignal) => Promise<void>} work stops when `lost` is aborted
 */
export async function lead(client, key, work) {
    const owner = randomUUID();
    const lost = new AbortController();
    const lose = () => lost.abort(new Error(`no longer the leader: ${key}`));

    const connection = client.duplicate({
        retryStrategy: () => null, // A new connection would not bring the hold back: the leader must know.
        commandTimeout: undefined, // It waits in line without limit.
        socketTimeout: undefined,
    });
    connection.on('error', () => {}); // 'end' follows.
    connection.on('end', lose);
    try {
        const fence = await connection.call('LOCK.ACQUIRE', key, owner, 'PX', LEASE_MS, 'SESSION', 'BLOCK', 0);
        let answered = true;
        const renewal = setInterval(async () => {
            if (!answered) return lose();
            answered = false;
            answered = (await connection.call('LOCK.EXTEND', key, owner).catch(() => 0)) === 1;
            if (!answered) lose();
        }, LEASE_MS / 3);
        try {
            await work(Number(fence), lost.signal);
        } finally {
            clearInterval(renewal);
        }
    } finally {
        connection.disconnect(); // The hold ends with it.
    }
}
