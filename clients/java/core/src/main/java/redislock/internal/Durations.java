package redislock.internal;

import java.time.Duration;

/** Checks durations and turns them into the server's milliseconds. */
public final class Durations {
    private static final Duration LONGEST = Duration.ofDays(365);
    private static final Duration ENDLESS = Duration.ofDays(36_500);

    private Durations() {}

    /** A lease: 1 ms to 365 days, in milliseconds, rounded up. */
    public static long lease(Duration lease) {
        return millis("the lease", lease, LONGEST);
    }

    /** The longest time of a hold. */
    public static long max(Duration max) {
        return millis("max", max, LONGEST);
    }

    /** The delay after a hold that was lost: 1 ms to an hour. */
    public static long delay(Duration delay) {
        return millis("the delay", delay, Duration.ofHours(1));
    }

    /** The time of cooling. */
    public static long cooling(Duration cooling) {
        return millis("the time of cooling", cooling, LONGEST);
    }

    /** A caller's time in nanoseconds; negative if it is longer than a century, which is no limit. */
    public static long timeout(Duration timeout) {
        if (timeout.isNegative()) {
            throw new IllegalArgumentException("the timeout must not be negative, and is " + timeout);
        }
        return timeout.compareTo(ENDLESS) > 0 ? -1 : timeout.toNanos();
    }

    private static long millis(String what, Duration duration, Duration longest) {
        if (duration.isNegative() || duration.isZero() || duration.compareTo(longest) > 0) {
            throw new IllegalArgumentException(what + " must be above 0 and at most " + longest + ", not " + duration);
        }
        return duration.plusNanos(999_999).toMillis();
    }
}
