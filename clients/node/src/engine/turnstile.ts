import type { Limits } from './limits.js';

/** Lets so many in at a time, in the order in which they came. */
export class Turnstile {
    #free: number;
    readonly #queue = new Set<() => void>();

    constructor(places: number) {
        this.#free = places;
    }

    async enter(limits: Limits): Promise<void> {
        if (this.#free > 0) {
            this.#free--;
            return;
        }
        let admitted = false;
        let admit: () => void = () => undefined;
        const turn = new Promise<void>((resolve) => {
            admit = () => {
                admitted = true;
                resolve();
            };
        });
        this.#queue.add(admit);
        try {
            await limits.race(turn);
        } catch (error) {
            // eslint-disable-next-line @typescript-eslint/no-unnecessary-condition -- set by admit
            if (admitted) this.leave();
            else this.#queue.delete(admit);
            throw error;
        }
    }

    leave(): void {
        const [next] = this.#queue;
        if (next && this.#free >= 0) {
            this.#queue.delete(next);
            next();
        } else {
            this.#free++;
        }
    }

    /** One place more. */
    grow(): void {
        this.leave();
    }

    /** One place less. If somebody is on it, it goes when they leave. */
    shrink(): void {
        this.#free--;
    }

    /** Nobody is inside, and nobody waits. */
    idle(places: number): boolean {
        return this.#free === places && this.#queue.size === 0;
    }
}
