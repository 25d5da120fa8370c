import { LongTimer } from '../core/clock.js';
import { LinkError } from './link.js';

/** The promise, or a rejection with a LinkError if that takes longer than `ms`. */
export async function withTimeout<T>(promise: Promise<T>, ms: number): Promise<T> {
    let timer: LongTimer | undefined;
    const late = new Promise<never>((_, reject) => {
        timer = new LongTimer(ms, () => reject(new LinkError('the server did not answer in time')), true);
    });
    try {
        return await Promise.race([promise, late]);
    } finally {
        timer?.cancel();
    }
}
