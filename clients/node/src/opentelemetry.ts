import type { Locks } from './locks.js';

interface Instrument {
    record(value: number, attributes?: Record<string, string>): void;
}

interface Counter {
    add(value: number, attributes?: Record<string, string>): void;
}

/** What this module needs of a Meter of `@opentelemetry/api`. */
export interface Meter {
    createHistogram(name: string, options?: { unit?: string; description?: string }): Instrument;
    createCounter(name: string, options?: { description?: string }): Counter;
}

/**
 * Reports what a client does to OpenTelemetry: the histograms `redislock.client.wait` and `redislock.client.hold` in
 * seconds, and the counters `redislock.client.renewals` and `redislock.client.losses`. Keys and owners are no attributes,
 * because their number has no bound. Returns what ends the reports.
 */
export function instrument(locks: Locks, meter: Meter): () => void {
    const wait = meter.createHistogram('redislock.client.wait', { unit: 's', description: 'How long acquisitions took' });
    const hold = meter.createHistogram('redislock.client.hold', { unit: 's', description: 'How long locks were held' });
    const renewals = meter.createCounter('redislock.client.renewals', { description: 'Leases extended in the background' });
    const losses = meter.createCounter('redislock.client.losses', { description: 'Holds that were lost' });
    const acquired = ({ waitedMs }: { waitedMs: number }): void => wait.record(waitedMs / 1000, { result: 'acquired' });
    const refused = ({ waitedMs }: { waitedMs: number }): void => wait.record(waitedMs / 1000, { result: 'refused' });
    const released = ({ heldMs }: { heldMs: number }): void => hold.record(heldMs / 1000);
    const renewed = (): void => renewals.add(1);
    const lost = ({ reason }: { reason: string }): void => losses.add(1, { reason });
    locks.on('acquired', acquired).on('refused', refused).on('released', released).on('renewed', renewed).on('lost', lost);
    return () => {
        locks.off('acquired', acquired).off('refused', refused).off('released', released);
        locks.off('renewed', renewed).off('lost', lost);
    };
}
