import { uptime } from 'node:os';

/**
 * A clock for leases, in milliseconds. It never goes back, and it goes on while the machine sleeps.
 *
 * `performance.now()` is precise, but stands still on Linux and macOS while the machine is suspended. The uptime of the
 * system goes on, but is coarse. So this clock follows the first, and adds what the second has gained on it.
 */
export class LeaseClock {
    readonly #fine: () => number;
    readonly #coarse: () => number;
    readonly #toleranceMs: number;
    #gap: number;
    #slept = 0;

    constructor(fine: () => number = () => performance.now(), coarse: () => number = () => uptime() * 1000) {
        this.#fine = fine;
        this.#coarse = coarse;
        const start = coarse();
        this.#gap = start - fine();
        // Some systems tell whole seconds only.
        this.#toleranceMs = Number.isInteger(start / 1000) ? 1100 : 60;
    }

    now(): number {
        const fine = this.#fine();
        const gained = this.#coarse() - fine - this.#gap;
        if (gained > this.#toleranceMs) {
            this.#slept += gained;
            this.#gap += gained;
        }
        return fine + this.#slept;
    }

    /** The same without a look at the uptime, which costs a system call. Too early by a sleep that nobody noticed yet. */
    rough(): number {
        return this.#fine() + this.#slept;
    }
}

/** The clock that all holds of this process share. */
export const leaseClock = new LeaseClock();

/** The most that a timer of Node can wait: 31 bits of milliseconds, some 24.8 days. */
const TIMER_MAX_MS = 2 ** 31 - 1;

/** A timer without the limit of 31 bits. `Infinity` never fires. */
export class LongTimer {
    #timer: NodeJS.Timeout | undefined;

    constructor(delayMs: number, fire: () => void, keepsProcess = false) {
        this.#arm(performance.now() + Math.max(0, delayMs), fire, keepsProcess);
    }

    #arm(due: number, fire: () => void, keepsProcess: boolean): void {
        const left = due - performance.now();
        const step = Math.min(left, TIMER_MAX_MS);
        this.#timer = setTimeout(
            () => {
                if (step < left) this.#arm(due, fire, keepsProcess);
                else fire();
            },
            Math.max(0, step),
        );
        if (!keepsProcess) this.#timer.unref();
    }

    cancel(): void {
        clearTimeout(this.#timer);
    }
}

/** Resolves after this time. The timer keeps the process alive, as what is waited for has to be done. */
export function pause(ms: number): Promise<void> {
    return new Promise((resolve) => {
        new LongTimer(ms, resolve, true);
    });
}
