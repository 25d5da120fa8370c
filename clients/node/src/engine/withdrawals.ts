import { Backoff } from '../core/backoff.js';
import { pause } from '../core/clock.js';
import { type Request, keyId } from '../core/request.js';
import { ClientClosed } from '../errors.js';
import { type Link, ReplyError } from '../net/link.js';
import type { Attempt } from './attempt.js';
import type { Limits } from './limits.js';

/** What was sent over a connection that broke may still arrive for so long. Milliseconds. */
const SETTLE_MS = 10_000;

/** Sees to it that an acquisition that ended without a hold leaves nothing at the server. */
export class Withdrawals {
    /** Sends the RELEASE of a request over the shared connection. */
    readonly #release: (request: Request, timeoutMs: number) => Promise<unknown>;
    /** By owner and lock: a later acquisition of the same owner must not meet a RELEASE that is meant for this one. */
    readonly #running = new Map<string, Set<Promise<void>>>();

    constructor(release: (request: Request, timeoutMs: number) => Promise<unknown>) {
        this.#release = release;
    }

    /** Begins to take back what this acquisition may have left. The caller does not wait for it. */
    begin(request: Request, attempt: Attempt): void {
        const { link, node } = attempt;
        // An ACQUIRE that was refused left nothing.
        if (!attempt.flight && !attempt.mayHold && attempt.strayAt === undefined) {
            if (link) node?.giveBack(link);
            return;
        }
        this.#run(request, this.withdraw(request, attempt));
    }

    /** After the release of a hold whose ACQUIRE may still be on its way a second time. */
    afterRelease(request: Request, strayAt: number): void {
        if (performance.now() - strayAt > SETTLE_MS) return;
        this.#run(request, this.#settle(request, strayAt, performance.now() + request.leaseMs));
    }

    /** Waits until earlier withdrawals of the same owner from these locks are over. */
    async settled(request: Request, limits: Limits): Promise<void> {
        for (const id of this.#ids(request)) {
            for (let running = this.#running.get(id); running; running = this.#running.get(id)) {
                await limits.race(Promise.all(running));
            }
        }
    }

    /** All that runs now. */
    all(): Promise<unknown> {
        return Promise.all([...this.#running.values()].flatMap((it) => [...it]));
    }

    #ids(request: Request): string[] {
        return request.keys.map((key) => `${request.owner}\0${keyId(key)}`);
    }

    #run(request: Request, work: Promise<void>): void {
        const done = work.catch(() => undefined);
        for (const id of this.#ids(request)) {
            const running = this.#running.get(id) ?? new Set();
            this.#running.set(id, running.add(done));
            void done.then(() => {
                running.delete(done);
                if (running.size === 0 && this.#running.get(id) === running) this.#running.delete(id);
            });
        }
    }

    /**
     * The RELEASE goes behind the ACQUIRE on its own connection, so it cannot overtake it. If that one waits in the
     * server, it stands in the way of the RELEASE, so others go over the shared connection until it is answered.
     */
    async withdraw(request: Request, attempt: Attempt): Promise<void> {
        // A hold that nobody knows of ends with its lease at the latest, so nothing is tried for longer than that.
        const end = (attempt.sentAt ?? 0) + Math.max(request.leaseMs, 1000) + 1000;
        const { flight, node, link } = attempt;
        attempt.link = undefined;
        let strayAt = attempt.strayAt;
        let answered = false;
        if (flight || link?.open) {
            const behind = this.#behind(request, flight?.link ?? (link as Link), flight?.reply);
            answered = flight?.waits ? await this.#untilAnswered(request, behind, end) : await behind;
            if (!answered && flight) strayAt = performance.now();
        }
        if (link) {
            if (answered) node?.giveBack(link);
            else link.close();
        }
        if (strayAt !== undefined) await this.#settle(request, strayAt, end);
        else if (!answered) await this.#release(request, end - performance.now());
    }

    /** Whether the ACQUIRE and the RELEASE behind it were answered. False if the connection broke. */
    async #behind(request: Request, link: Link, reply: Promise<unknown> | undefined): Promise<boolean> {
        const release = link.send(request.withdraw());
        try {
            await Promise.all([reply?.catch(refused), release.catch(refused)]);
            return true;
        } catch {
            return false;
        }
    }

    async #untilAnswered(request: Request, behind: Promise<boolean>, end: number): Promise<boolean> {
        const backoff = new Backoff(20, 2000);
        let answered: boolean | undefined;
        const done = behind.then((result) => (answered = result));
        while (answered === undefined) {
            const left = end - performance.now();
            if (left <= 0) return false;
            // One at a time: a server that stands still is not sent more and more of them.
            const elsewhere = this.#release(request, left).catch(() => undefined);
            await Promise.race([done, elsewhere]);
            // eslint-disable-next-line @typescript-eslint/no-unnecessary-condition -- set by the promise above
            if (answered === undefined) await Promise.race([done, pause(Math.min(backoff.nextMs(), left))]);
        }
        return answered;
    }

    /** Repeats the RELEASE while the ACQUIRE may still arrive, and until a server has answered one. */
    async #settle(request: Request, strayAt: number, end: number): Promise<void> {
        const backoff = new Backoff(50, 2000);
        for (;;) {
            const left = end - performance.now();
            if (left <= 0) return;
            const settled = performance.now() >= strayAt + SETTLE_MS;
            const answered = await this.#release(request, left).then(
                () => true,
                (error: unknown) => {
                    if (error instanceof ClientClosed) throw error;
                    return error instanceof ReplyError;
                },
            );
            if (answered && settled) return;
            await pause(Math.max(0, Math.min(backoff.nextMs(), left)));
        }
    }
}

function refused(error: unknown): void {
    if (!(error instanceof ReplyError)) throw error;
}
