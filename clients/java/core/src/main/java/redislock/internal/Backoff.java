package redislock.internal;

import java.util.concurrent.ThreadLocalRandom;
import java.util.function.LongBinaryOperator;

/** Growing pauses with jitter, in nanoseconds. */
final class Backoff {
    private final long most;
    private final LongBinaryOperator random;
    private long next;


    Backoff(long first, long most, LongBinaryOperator random) {
        this.next = first;
        this.most = most;
        this.random = random;
    }

    long pause() {
        long limit = next;
        next = Math.min(most, next * 2);
        return random.applyAsLong(limit / 4, limit);
    }
}
