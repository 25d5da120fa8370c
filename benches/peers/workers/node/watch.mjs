// Watches one lock from the side of its clients.

import { section } from './section.mjs';

/** Who begins to wait this much later and is served first has overtaken. */
const OVERTAKEN_MS = 5;

/** Sees that a lock excludes, how long it lets wait, and whom it lets pass. Times are those of performance.now(). */
export class Watch {
    grantsTotal = 0;
    /**
     * By client: the waits that were granted in the measured span.
     *
     * @type {number[][]}
     */
    waitsMs;
    /**
     * By client: how long who waited at the end of the span had waited by then.
     *
     * @type {Map<number, number>}
     */
    pendingMs = new Map();
    /** @type {number[]} */
    handoffsMs = [];
    sections = 0;
    sectionsMs = 0;
    overtakes = 0;

    /**
     * Since when each client waits, in the order in which they began.
     *
     * @type {Map<number, number>}
     */
    #waiting = new Map();
    #measuring = false;
    /** @type {number | undefined} */
    #releasedAt;
    #holders = 0;
    #breaches = 0;
    /** Read before the section and written after it: only the lock under test keeps the updates apart. */
    #counter = 0;

    /** @param {number} clients */
    constructor(clients) {
        this.waitsMs = Array.from({ length: clients }, () => []);
    }

    /**
     * The client is about to ask for the lock.
     *
     * @param {number} client
     */
    asked(client) {
        this.#waiting.set(client, performance.now());
    }

    /**
     * The client has just been granted the lock.
     *
     * @param {number} client
     */
    granted(client) {
        const at = performance.now();
        const asked = this.#waiting.get(client) ?? at;
        this.#waiting.delete(client);
        this.grantsTotal++;
        if (this.#measuring) {
            this.waitsMs[client].push(at - asked);
            if (this.#releasedAt !== undefined) this.handoffsMs.push(at - this.#releasedAt);
            const oldest = this.#waiting.values().next().value;
            if (oldest !== undefined && asked - oldest > OVERTAKEN_MS) this.overtakes++;
        }
        this.#releasedAt = undefined;
    }

    /** The holder is about to release the lock. */
    releasing() {
        this.#releasedAt = performance.now();
    }

    /** @param {number} client */
    waits(client) {
        return this.#waiting.has(client);
    }

    /**
     * Does what a holder does for so long, and sees whether it is alone.
     *
     * @param {number} us
     */
    async section(us) {
        const begin = performance.now();
        const before = this.#enter();
        await section(us);
        this.#leave(before);
        if (this.#measuring) {
            this.sections++;
            this.sectionsMs += performance.now() - begin;
        }
    }

    /** A section in which nothing is done. */
    pass() {
        this.#leave(this.#enter());
    }

    #enter() {
        if (this.#holders++ !== 0) this.#breaches++;
        return this.#counter;
    }

    /** @param {number} before what the counter was on entering */
    #leave(before) {
        this.#counter = before + 1;
        this.#holders--;
    }

    begin() {
        this.#measuring = true;
    }

    /** Ends the measured span; who still waits counts with the age of the wait. */
    end() {
        if (!this.#measuring) return;
        this.#measuring = false;
        const now = performance.now();
        for (const [client, asked] of this.#waiting) this.pendingMs.set(client, now - asked);
    }

    /** Right only when all clients have ended. */
    get violations() {
        return this.#breaches + Math.abs(this.grantsTotal - this.#counter);
    }
}
