package redislock;

import java.util.function.LongBinaryOperator;

import redislock.internal.LeaseClock;

/** Sets what only tests may set. */
public final class BuilderAccess {
    private BuilderAccess() {}

    /** Another clock for leases. */
    public static void clock(LockClient.Builder builder, LeaseClock clock) {
        builder.clock(clock);
    }

    /** Another way to draw pauses, in nanoseconds. */
    public static void jitter(LockClient.Builder builder, LongBinaryOperator draw) {
        builder.jitter(draw);
    }
}
