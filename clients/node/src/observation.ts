import { EventEmitter } from 'node:events';
import type { LockInfo } from './core/reply.js';
import { type Key, keyId } from './core/request.js';
import type { ServerError } from './errors.js';
import type { Keeper } from './engine/keeper.js';
import { asyncDispose } from './signal.js';

/** Who leads. */
export interface LeaderInfo {
    owner: string;
    fence: number;
}

/**
 * Tells who holds a lock, and each change: by the event `change`, or as an async iterable that begins with the leader of
 * now and then gives each change. The server reports changes, so nothing polls.
 */
export class Observation extends EventEmitter implements AsyncIterable<LeaderInfo | null> {
    readonly key: Key;
    #leader: LeaderInfo | null = null;
    #end: () => void = () => undefined;
    #closed = false;

    private constructor(key: Key) {
        super();
        this.key = key;
    }

    /** @internal Resolves as soon as it is known who leads. */
    static start(keeper: Keeper, key: Key, signal: AbortSignal | undefined): Promise<Observation> {
        signal?.throwIfAborted();
        keyId(key);
        const observation = new Observation(key);
        return new Promise((resolve, reject) => {
            let first = true;
            const abort = (): void => {
                observation.close();
                if (first) reject(signal?.reason as Error);
            };
            observation.#end = keeper.watch({
                key,
                seen(info) {
                    if (first) {
                        first = false;
                        observation.#leader = leaderOf(info);
                        resolve(observation);
                    } else {
                        observation.#seen(leaderOf(info));
                    }
                },
                failed(error: ServerError) {
                    if (!first) return;
                    observation.close();
                    reject(error);
                },
            });
            signal?.addEventListener('abort', abort, { once: true });
            observation.once('close', () => signal?.removeEventListener('abort', abort));
        });
    }

    /** Who leads now, or null if nobody does. */
    get leader(): LeaderInfo | null {
        return this.#leader;
    }

    #seen(leader: LeaderInfo | null): void {
        if (leader?.owner === this.#leader?.owner && leader?.fence === this.#leader?.fence) return;
        this.#leader = leader;
        this.emit('change', leader);
    }

    override on(event: 'change', listener: (leader: LeaderInfo | null) => void): this;
    override on(event: 'close', listener: () => void): this;
    override on(event: string, listener: (argument: never) => void): this {
        return super.on(event, listener as (argument: unknown) => void);
    }

    /** Stops observing, and ends all iterations. */
    close(): void {
        if (this.#closed) return;
        this.#closed = true;
        this.#end();
        this.emit('close');
    }

    async *[Symbol.asyncIterator](): AsyncGenerator<LeaderInfo | null, void, undefined> {
        const news: (LeaderInfo | null)[] = [this.#leader];
        let wake: () => void = () => undefined;
        const change = (leader: LeaderInfo | null): void => {
            news.push(leader);
            wake();
        };
        const closed = (): void => wake();
        this.on('change', change);
        this.on('close', closed);
        try {
            for (;;) {
                while (news.length > 0) yield news.shift() ?? null;
                if (this.#closed) return;
                await new Promise<void>((resolve) => (wake = resolve));
            }
        } finally {
            this.off('change', change);
            this.off('close', closed);
        }
    }

    [asyncDispose](): Promise<void> {
        this.close();
        return Promise.resolve();
    }
}

function leaderOf(info: LockInfo | null): LeaderInfo | null {
    const holder = info?.holders[0];
    return holder ? { owner: holder.owner, fence: holder.fence } : null;
}
