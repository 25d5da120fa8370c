package peers;

import java.util.concurrent.locks.LockSupport;

/** Waits for a time of {@link System#nanoTime}. */
final class Pause {
    /** Shorter pauses spin: a sleep ends too late by up to a tenth of a millisecond. */
    private static final long SPIN_BELOW_NANOS = 2_000_000;

    private Pause() {}

    static void until(long end, long nanos) {
        boolean spin = nanos < SPIN_BELOW_NANOS;
        for (long left = end - System.nanoTime(); left > 0; left = end - System.nanoTime()) {
            if (spin) {
                Thread.onSpinWait();
            } else {
                LockSupport.parkNanos(left);
            }
        }
    }
}
