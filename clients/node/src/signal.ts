import type { NotHeld } from './errors.js';

/**
 * An AbortSignal that looks at the clock whenever somebody reads it: it is aborted as soon as the lease is over, also if
 * the event loop was blocked and no timer could fire.
 */
export class LeaseSignal {
    readonly signal: AbortSignal;
    readonly #controller = new AbortController();

    /** `look` calls {@link abort} if the time is over. */
    constructor(look: () => void) {
        const { signal } = this.#controller;
        this.signal = signal;
        const prototype = Object.getPrototypeOf(signal) as AbortSignal;
        const read = (name: 'aborted' | 'reason'): unknown => {
            look();
            return Reflect.get(prototype, name, signal);
        };
        Object.defineProperties(signal, {
            aborted: { get: () => read('aborted'), configurable: true },
            reason: { get: () => read('reason'), configurable: true },
            throwIfAborted: {
                value: () => {
                    if (read('aborted')) throw read('reason');
                },
                configurable: true,
            },
        });
    }

    abort(reason: NotHeld): void {
        this.#controller.abort(reason);
    }
}

/** The symbol of `await using`. Node 18 knows it under another name. */
export const asyncDispose: typeof Symbol.asyncDispose =
    // eslint-disable-next-line @typescript-eslint/no-unnecessary-condition -- missing before Node 18.18
    Symbol.asyncDispose ?? (Symbol.for('nodejs.asyncDispose') as typeof Symbol.asyncDispose);
