import { AcquirerBase } from './acquirer.js';
import { type Key, keyId } from './core/request.js';
import type { Hold } from './hold.js';
import type { LockOptions } from './options.js';

/** @internal What an owner needs of its client. */
export interface TakesAs {
    takeAs(owner: string, keys: Key | readonly Key[], options: LockOptions): Promise<Hold>;
}

/**
 * Takes several locks under one name. The server refuses a wait with -DEADLOCK if it would close a cycle of owners that wait
 * for one another. It cannot take a lock a second time while it holds it: the server knows one hold for each owner.
 */
export class Owner extends AcquirerBase {
    /** The name that the server sees. */
    readonly name: string;
    readonly #locks: TakesAs;
    readonly #taken = new Set<string>();

    /** @internal */
    constructor(locks: TakesAs, name: string) {
        super();
        const bytes = Buffer.byteLength(name);
        if (bytes < 1 || bytes > 1024 || name === '*') {
            throw new RangeError(`the name of an owner must have 1 to 1024 bytes and not be "*", not ${bytes} bytes`);
        }
        this.#locks = locks;
        this.name = name;
    }

    /** @internal */
    protected async take(keys: Key | readonly Key[], options: LockOptions): Promise<Hold> {
        const ids = (Array.isArray(keys) ? (keys as readonly Key[]) : [keys as Key]).map(keyId);
        const twice = ids.find((id) => this.#taken.has(id));
        if (twice !== undefined) {
            const key = Buffer.from(twice, 'latin1').toString();
            throw new TypeError(`the owner ${this.name} holds ${key} already, or is acquiring it`);
        }
        for (const id of ids) this.#taken.add(id);
        const free = (): void => ids.forEach((id) => this.#taken.delete(id));
        try {
            const hold = await this.#locks.takeAs(this.name, keys, options);
            hold.onEnd(free);
            return hold;
        } catch (error) {
            free();
            throw error;
        }
    }
}
