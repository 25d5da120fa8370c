package peers;

import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.Map;

/** Durations in nanoseconds, all kept: the quantiles are exact. */
final class Samples {
    private long[] values = new long[1024];
    private int size;

    void add(long nanos) {
        if (size == values.length) {
            values = Arrays.copyOf(values, size * 2);
        }
        values[size++] = nanos;
    }

    void addAll(Samples others) {
        for (int i = 0; i < others.size; i++) {
            add(others.values[i]);
        }
    }

    /**
     * Quantiles by nearest rank, in microseconds.
     *
     * @param names the quantiles by the name they are reported with: 0.999 is p999
     * @param atLeast what the largest value is at least, in nanoseconds
     * @return null for each where there are no samples
     */
    Map<String, Double> quantiles(Map<String, Double> names, long atLeast) {
        Arrays.sort(values, 0, size);
        Map<String, Double> found = new LinkedHashMap<>();
        names.forEach((name, q) -> found.put(name, size == 0 ? null : micros(rank(q))));
        long largest = Math.max(atLeast, size == 0 ? 0 : values[size - 1]);
        found.put("max", size == 0 && atLeast == 0 ? null : micros(largest));
        return found;
    }

    private long rank(double q) {
        return values[Math.max(0, (int) Math.ceil(q * size) - 1)];
    }

    static double micros(double nanos) {
        return Math.round(nanos / 10) / 100.0;
    }
}
