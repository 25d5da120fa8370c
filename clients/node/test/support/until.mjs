import { setTimeout as delay } from 'node:timers/promises';

/** Asks again and again until the answer is true, and fails after a minute. */
export async function until(condition, what) {
    const deadline = performance.now() + 60_000;
    while (!(await condition())) {
        if (performance.now() > deadline) throw new Error(`never came true: ${what}`);
        await delay(10);
    }
}

/** Resolves when a signal is aborted, with its reason. */
export async function aborted(signal) {
    await until(() => signal.aborted, 'the signal is aborted');
    return signal.reason;
}

/** Keeps the event loop from turning. */
export function blockFor(ms) {
    const end = performance.now() + ms;
    while (performance.now() < end);
}

export { delay };
