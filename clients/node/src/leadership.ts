import type { Key } from './core/request.js';
import type { Hold } from './hold.js';
import { asyncDispose } from './signal.js';

/** This process leads until it resigns or is replaced. */
export class Leadership {
    /** The hold behind it. */
    readonly hold: Hold;

    /** @internal */
    constructor(hold: Hold) {
        this.hold = hold;
    }

    get key(): Key {
        return this.hold.key;
    }

    /** The name that observers see. */
    get owner(): string {
        return this.hold.owner;
    }

    /** The fencing token. Every later leader has a larger one. */
    get fence(): number {
        return this.hold.fence;
    }

    /** Aborted when this process no longer leads. */
    get signal(): AbortSignal {
        return this.hold.signal;
    }

    /** Whether this process still leads, as far as it knows. Looks at the clock; false in doubt. */
    get leading(): boolean {
        return this.hold.held;
    }

    /**
     * Hands over to the candidate that has waited longest.
     *
     * @throws {NotHeld} another one may have led already
     */
    resign(): Promise<void> {
        return this.hold.release();
    }

    [asyncDispose](): Promise<void> {
        return this.hold[asyncDispose]();
    }
}
