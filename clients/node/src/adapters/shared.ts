import type { Endpoint } from '../net/link.js';
import type { AddressMap } from '../net/router.js';

/** The keys of an invalidation message: null after FLUSHALL. */
export function asKeys(message: unknown): Buffer[] | null {
    if (message === null || message === undefined) return null;
    const keys = Array.isArray(message) ? (message as unknown[]) : [message];
    return keys.map((key) => (Buffer.isBuffer(key) ? key : Buffer.from(String(key))));
}

/** The mapping of a client library, given as an object or as a function. */
export function addressMap(map: unknown): AddressMap {
    return (endpoint) => {
        const id = `${endpoint.host}:${endpoint.port}`;
        const found =
            typeof map === 'function'
                ? (map as (id: string) => Endpoint | null | undefined)(id)
                : (map as Record<string, Endpoint> | undefined)?.[id];
        return found ? { host: found.host, port: Number(found.port) } : endpoint;
    };
}
