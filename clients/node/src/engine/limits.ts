import { LongTimer } from '../core/clock.js';

/** Why an acquisition stopped before the server had answered. */
export class Stopped extends Error {
    constructor(readonly why: 'time' | 'abort' | 'closed') {
        super(why);
    }
}

/** What ends an acquisition from outside: the caller's time, the caller's signal, or the end of the client. */
export class Limits {
    readonly #timer: LongTimer | undefined;
    readonly #signal: AbortSignal | undefined;
    readonly #closing: Set<() => void>;
    readonly #waiting = new Set<(error: Stopped) => void>();
    #stopped: Stopped | undefined;

    constructor(patienceMs: number, signal: AbortSignal | undefined, closing: Set<() => void>) {
        this.#signal = signal;
        this.#closing = closing;
        closing.add(this.#close);
        signal?.addEventListener('abort', this.#abort, { once: true });
        if (patienceMs !== Infinity) this.#timer = new LongTimer(patienceMs, () => this.#stop('time'), true);
    }

    /** The promise, or a rejection with {@link Stopped} if that comes first. */
    race<T>(promise: Promise<T>): Promise<T> {
        if (this.#stopped) {
            promise.catch(() => undefined);
            return Promise.reject(this.#stopped);
        }
        return new Promise((resolve, reject) => {
            const stop = (error: Stopped): void => reject(error);
            this.#waiting.add(stop);
            promise.then(
                (value) => {
                    this.#waiting.delete(stop);
                    resolve(value);
                },
                (error: unknown) => {
                    this.#waiting.delete(stop);
                    // eslint-disable-next-line @typescript-eslint/prefer-promise-reject-errors -- passed on as it came
                    reject(error);
                },
            );
        });
    }

    /** Waits for so long, or until it is stopped. */
    async pause(ms: number): Promise<void> {
        let timer: NodeJS.Timeout | undefined;
        try {
            await this.race(new Promise<void>((resolve) => (timer = setTimeout(resolve, ms))));
        } finally {
            clearTimeout(timer);
        }
    }

    dispose(): void {
        this.#timer?.cancel();
        this.#signal?.removeEventListener('abort', this.#abort);
        this.#closing.delete(this.#close);
    }

    readonly #abort = (): void => this.#stop('abort');
    readonly #close = (): void => this.#stop('closed');

    #stop(why: Stopped['why']): void {
        if (this.#stopped) return;
        this.#stopped = new Stopped(why);
        for (const stop of this.#waiting) stop(this.#stopped);
        this.#waiting.clear();
    }
}
