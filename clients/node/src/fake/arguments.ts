import { keyId } from '../core/request.js';

/** The arguments of a command, read from left to right. */
export class Arguments {
    readonly #args: (string | Buffer)[];
    #at = 0;

    constructor(args: (string | Buffer)[]) {
        this.#args = args;
    }

    text(): string {
        return this.#next().toString();
    }

    word(): string {
        return this.text().toUpperCase();
    }

    #next(): string | Buffer {
        const arg = this.#args[this.#at++];
        if (arg === undefined) throw new Error('ERR wrong number of arguments');
        return arg;
    }

    /** One key, or a number of keys and the keys. */
    keys(several: boolean): string[] {
        const count = several ? Number(this.text()) : 1;
        return Array.from({ length: count }, () => keyId(this.#next()));
    }

    /** The options that are left: those with a number, and those without. */
    options(valued: string[], flags: string[]): Map<string, number> {
        const found = new Map<string, number>();
        while (this.#at < this.#args.length) {
            const name = this.word();
            if (flags.includes(name)) {
                found.set(name, 1);
            } else if (valued.includes(name)) {
                const value = Number(this.text());
                if (!Number.isSafeInteger(value) || value < 0) throw new Error(`ERR ${name} must be a number`);
                found.set(name, value);
            } else {
                throw new Error(`ERR unknown option ${name}`);
            }
        }
        return found;
    }

    /** The options of LOCK.LIST and LOCK.TOP. */
    filters(): { count: number; match: RegExp | undefined; owner: string | undefined; by: string } {
        const found = { count: 10, match: undefined as RegExp | undefined, owner: undefined as string | undefined, by: '' };
        while (this.#at < this.#args.length) {
            const name = this.word();
            if (name === 'COUNT') found.count = Number(this.text());
            else if (name === 'MATCH') found.match = glob(this.text());
            else if (name === 'OWNER') found.owner = this.text();
            else if (name === 'BY') found.by = this.word();
            else throw new Error(`ERR unknown option ${name}`);
        }
        return found;
    }
}

/** A pattern of SCAN as a regular expression. */
function glob(pattern: string): RegExp {
    const source = pattern.replace(/\\.|[*?]|\[\^?|\]|[.+(){}|^$/\\]/g, (it) => {
        if (it === '*') return '[\\s\\S]*';
        if (it === '?') return '[\\s\\S]';
        if (it === '[' || it === '[^' || it === ']' || it.length === 2) return it;
        return `\\${it}`;
    });
    return new RegExp(`^${source}$`);
}
