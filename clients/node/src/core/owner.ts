import { randomBytes } from 'node:crypto';
import { hostname } from 'node:os';

/** The server takes owners of up to 1024 bytes. What is random in them needs 21. */
const PREFIX_MAX_BYTES = 1000;

/** `label/host/pid`, so that LOCK.INFO leads to the process. Throws a RangeError if that is too long. */
export function ownerPrefix(label: string | undefined): string {
    const prefix = [...(label ? [label] : []), hostname() || 'unknown', String(process.pid)].join('/');
    if (Buffer.byteLength(prefix) > PREFIX_MAX_BYTES) {
        throw new RangeError(`label is too long: label, host and process id may have ${PREFIX_MAX_BYTES} bytes together`);
    }
    return prefix;
}

/** A name that no other acquisition has. */
export function newOwner(prefix: string): string {
    return `${prefix}/${randomBytes(10).toString('hex')}`;
}

/** The prefix as CLIENT SETNAME takes it: printable and without spaces. */
export function connectionName(prefix: string): string {
    return `redis-lock:${prefix}`.replace(/[^!-~]/g, '_');
}
