// Quantiles of durations. All samples are kept, so they are exact.

/**
 * Quantiles by nearest rank, in microseconds; null where there are no samples.
 *
 * @param {number[]} samplesMs
 * @param {Record<string, number>} names the quantiles by the name they are reported with
 * @param {number} [atLeastMs] what the largest value, `max`, is at least
 */
export function quantiles(samplesMs, names, atLeastMs = 0) {
    const ordered = Float64Array.from(samplesMs).sort();
    /** @param {number} q */
    const rank = (q) => (ordered.length === 0 ? null : micros(ordered[Math.max(0, Math.ceil(q * ordered.length) - 1)]));
    const found = Object.fromEntries(Object.entries(names).map(([name, q]) => [name, rank(q)]));
    const largestMs = Math.max(atLeastMs, ordered.at(-1) ?? 0);
    return { ...found, max: largestMs > 0 ? micros(largestMs) : null };
}

/** @param {number} ms */
export function micros(ms) {
    return Math.round(ms * 100_000) / 100;
}
