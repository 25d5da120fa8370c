package redislock.internal;

import java.time.Duration;
import java.util.List;
import java.util.concurrent.Executor;
import java.util.function.LongBinaryOperator;

import redislock.LockListener;

/** The settings of a client. */
public record Options(
        String label,
        Duration lease,
        boolean renew,
        Duration requestTimeout,
        Duration probeInterval,
        boolean tracking,
        boolean shareWaits,
        int maxWaits,
        int maxIdle,
        List<LockListener> listeners,
        Executor callbacks,
        LeaseClock clock,
        LongBinaryOperator jitter) {
    Backoff backoff(long firstMs, long mostMs) {
        return new Backoff(firstMs * 1_000_000L, mostMs * 1_000_000L, jitter);
    }
}
