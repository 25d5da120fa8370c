import { AcquirerBase } from './acquirer.js';
import type { Key } from './core/request.js';
import type { Hold } from './hold.js';
import type { LockOptions } from './options.js';

/** @internal What an owner needs of its client. */
export interface TakesAs {
    takeAs(owner: string, keys: Key | readonly Key[], options: LockOptions): Promise<Hold>;
}

/**
 * Takes several locks under one name. The server refuses a wait with -DEADLOCK if it would close a cycle of owners that wait
 * for one another. Taking a lock that this owner holds already gives a second hold of the same grant: releasing either ends
 * both.
 */
export class Owner extends AcquirerBase {
    /** The name that the server sees. */
    readonly name: string;
    readonly #locks: TakesAs;

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
    protected take(keys: Key | readonly Key[], options: LockOptions): Promise<Hold> {
        return this.#locks.takeAs(this.name, keys, options);
    }
}
