import type { Limits } from './limits.js';
import { Turnstile } from './turnstile.js';

/** So many requests may be unanswered on one connection, however slow it is. */
const LEAST = 16;
const MOST = 4096;
/** A connection is slow if an answer takes longer. Milliseconds. */
const SLOW_MS = 250;

/**
 * Bounds how many acquisitions are on their way on the shared connection. What was sent can no longer be taken back
 * without another request, so on a slow connection it is better that callers who give up have not sent theirs yet. The
 * window grows with each quick answer.
 */
export class SendWindow {
    readonly #places = new Turnstile(LEAST);
    #size = LEAST;

    enter(limits: Limits): Promise<void> {
        return this.#places.enter(limits);
    }

    /** The answer came after this time. */
    leave(tookMs: number): void {
        if (tookMs > SLOW_MS) {
            for (const least = Math.max(LEAST, this.#size >> 1); this.#size > least; this.#size--) this.#places.shrink();
        } else if (this.#size < MOST) {
            this.#size++;
            this.#places.grow();
        }
        this.#places.leave();
    }
}
