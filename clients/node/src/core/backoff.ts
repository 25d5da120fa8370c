/** Growing pauses with jitter, in milliseconds. */
export class Backoff {
    #limit: number;
    readonly #most: number;

    constructor(firstMs = 20, mostMs = 1000) {
        this.#limit = firstMs;
        this.#most = mostMs;
    }

    /** The length of the next pause. */
    nextMs(): number {
        const limit = this.#limit;
        this.#limit = Math.min(this.#most, limit * 2);
        return limit / 4 + Math.random() * limit * 0.75;
    }
}
