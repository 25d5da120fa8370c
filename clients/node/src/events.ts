import { channel } from 'node:diagnostics_channel';
import { EventEmitter } from 'node:events';
import type { LossReason } from './errors.js';

/** A lock was granted. */
export interface AcquiredEvent {
    keys: readonly string[];
    owner: string;
    fence: number;
    /** How long the acquisition took, in milliseconds. */
    waitedMs: number;
}

/** An acquisition ended without the lock. */
export interface RefusedEvent {
    keys: readonly string[];
    owner: string;
    waitedMs: number;
    error: unknown;
}

/** A hold was released. */
export interface ReleasedEvent {
    keys: readonly string[];
    owner: string;
    fence: number;
    /** How long it was held, in milliseconds. */
    heldMs: number;
}

/** A hold was extended in the background. */
export interface RenewedEvent {
    keys: readonly string[];
    owner: string;
    fence: number;
}

/** A hold was lost. */
export interface LostEvent {
    keys: readonly string[];
    owner: string;
    fence: number;
    reason: LossReason;
    heldMs: number;
}

/** The events of {@link Locks}, by name. */
export interface LocksEvents {
    acquired: AcquiredEvent;
    refused: RefusedEvent;
    released: ReleasedEvent;
    renewed: RenewedEvent;
    lost: LostEvent;
}

/** Numbers of one client, from its start. */
export interface Stats {
    acquired: number;
    refused: number;
    released: number;
    renewed: number;
    lost: number;
    /** Holds that last now. */
    holds: number;
    connectionsOpened: number;
}

const NAMES = ['acquired', 'refused', 'released', 'renewed', 'lost'] as const;

/** Channels of `node:diagnostics_channel`: `redis-lock:acquired` and so on, for all clients of the process. */
const CHANNELS = Object.fromEntries(NAMES.map((name) => [name, channel(`redis-lock:${name}`)])) as Record<
    keyof LocksEvents,
    ReturnType<typeof channel>
>;

/** Tells listeners and channels what happens, and counts it. */
export class LocksEmitter {
    readonly counts: Record<keyof LocksEvents, number> = { acquired: 0, refused: 0, released: 0, renewed: 0, lost: 0 };
    readonly #emitter = new EventEmitter();

    on<E extends keyof LocksEvents>(event: E, listener: (event: LocksEvents[E]) => void): void {
        this.#emitter.on(event, listener);
    }

    once<E extends keyof LocksEvents>(event: E, listener: (event: LocksEvents[E]) => void): void {
        this.#emitter.once(event, listener);
    }

    off<E extends keyof LocksEvents>(event: E, listener: (event: LocksEvents[E]) => void): void {
        this.#emitter.off(event, listener);
    }

    /** A listener that throws must not end an acquisition or a renewal: its error is thrown in a turn of its own. */
    tell<E extends keyof LocksEvents>(name: E, event: LocksEvents[E]): void {
        this.counts[name]++;
        const to = CHANNELS[name];
        if (to.hasSubscribers) to.publish(event);
        try {
            this.#emitter.emit(name, event);
        } catch (error) {
            process.nextTick(() => {
                throw error;
            });
        }
    }
}
