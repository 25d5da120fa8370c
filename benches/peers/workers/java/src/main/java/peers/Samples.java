package peers;

import java.util.Arrays;

/** Durations in nanoseconds, all kept: the quantiles are exact. */
final class Samples {
    private long[] values = new long[16];
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

    int size() {
        return size;
    }

    /** All of them, in a new array. */
    long[] toArray() {
        return Arrays.copyOf(values, size);
    }
}
