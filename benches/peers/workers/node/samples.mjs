// Quantiles of durations by nearest rank, in microseconds from milliseconds.

const QUANTILES = Object.entries({ p50: 0.5, p90: 0.9, p99: 0.99, p999: 0.999, max: 1 });

/**
 * All samples are kept, so they are exact. Without samples there are none.
 *
 * @param {number[]} samplesMs
 * @returns {Record<string, number>}
 */
export function quantiles(samplesMs) {
    if (samplesMs.length === 0) return {};
    const ordered = Float64Array.from(samplesMs).sort();
    return Object.fromEntries(
        QUANTILES.map(([name, q]) => [name, micros(ordered[Math.max(0, Math.ceil(q * ordered.length) - 1)])]),
    );
}

/**
 * Each group counts the same, however many samples it has.
 *
 * @param {number[][]} groupsMs
 * @returns {Record<string, number>}
 */
export function quantilesOfGroups(groupsMs) {
    const ordered = groupsMs
        .flatMap((group) => group.map((ms) => ({ ms, weight: 1 / group.length })))
        .sort((one, other) => one.ms - other.ms);
    const largest = ordered.at(-1);
    if (!largest) return {};
    const total = ordered.reduce((sum, { weight }) => sum + weight, 0);
    /** @param {number} q */
    const rank = (q) => {
        let below = 0;
        return ordered.find(({ weight }) => (below += weight) >= q * total) ?? largest;
    };
    return Object.fromEntries(QUANTILES.map(([name, q]) => [name, micros((q < 1 ? rank(q) : largest).ms)]));
}

/** @param {number} ms */
export function micros(ms) {
    return Math.round(ms * 100_000) / 100;
}
