package redislock;

import io.lettuce.core.RedisException;
import io.lettuce.core.RedisFuture;
import io.lettuce.core.api.StatefulRedisConnection;
import io.lettuce.core.codec.StringCodec;
import io.lettuce.core.output.IntegerOutput;
import io.lettuce.core.protocol.CommandArgs;
import io.lettuce.core.protocol.ProtocolKeyword;

import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.UUID;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.Future;
import java.util.concurrent.ScheduledThreadPoolExecutor;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.function.Supplier;

/**
 * Locks over the LOCK.* commands of redis-lock, with Lettuce. One object for all threads.
 *
 * <pre>{@code
 * LettuceLock lock = new LettuceLock(connection, client::connect);
 * try (LettuceLock.Hold hold = lock.acquire("orders:42", lease, wait)) {
 *     orders.write(order, hold.fence()); // refuses fences smaller than the largest it saw
 * }
 * }</pre>
 */
public final class LettuceLock {
    /** How much later than asked for the end of a wait may be told. */
    private static final Duration GRACE = Duration.ofSeconds(5);

    /** Says when to renew. Nothing in it blocks. */
    private static final ScheduledThreadPoolExecutor TIMER =
            new ScheduledThreadPoolExecutor(1, LettuceLock::daemon);

    static {
        TIMER.setRemoveOnCancelPolicy(true);
    }

    private final StatefulRedisConnection<String, String> shared;
    private final Supplier<StatefulRedisConnection<String, String>> connections;

    /**
     * @param shared the connection of the application, for the short commands
     * @param connections opens another one for a wait: on the shared connection, whatever any
     *     thread sends after LOCK.ACQUIRE BLOCK would wait behind it, the holder's release too
     */
    public LettuceLock(
            StatefulRedisConnection<String, String> shared,
            Supplier<StatefulRedisConnection<String, String>> connections) {
        this.shared = shared;
        this.connections = connections;
    }

    /**
     * Asks for the lock and waits in line for it. An interrupt withdraws the wait.
     *
     * @param lease how soon the lock is free if this process dies; renewed while it lives
     * @param wait how long to wait at most; zero: not at all
     * @throws NotAcquiredException if others held the lock all the time
     */
    public Hold acquire(String key, Duration lease, Duration wait)
            throws NotAcquiredException, InterruptedException {
        // One for each acquisition. Lettuce connects anew and sends again: the same owner gets the
        // same fence.
        String owner = UUID.randomUUID().toString();
        try {
            long asked = System.nanoTime();
            Long fence = send(shared, Command.ACQUIRE, about(key, owner, lease));
            // BLOCK 0 would wait for ever.
            if (fence == null
                    && wait.toMillis() > 0
                    && awaitTurn(key, owner, lease, wait) != null) {
                // The lease began at the grant, unknown when. Asked again, it runs from here on.
                asked = System.nanoTime();
                fence = send(shared, Command.ACQUIRE, about(key, owner, lease));
            }
            if (fence == null) {
                throw new NotAcquiredException(key);
            }
            return new Hold(key, owner, fence, lease, asked);
        } catch (RedisException failed) {
            // Withdraws what waits, ends what is held. If it does not arrive, the lease ends it.
            dispatch(Command.RELEASE, about(key, owner));
            // Lettuce tells an interrupt by an exception of its own and leaves the flag set.
            if (Thread.interrupted()) {
                throw new InterruptedException("interrupted while waiting for " + key);
            }
            throw failed;
        }
    }

    private Long awaitTurn(String key, String owner, Duration lease, Duration wait) {
        try (StatefulRedisConnection<String, String> own = connections.get()) {
            own.setTimeout(wait.plus(GRACE));
            return send(
                    own,
                    Command.ACQUIRE,
                    about(key, owner, lease).add("BLOCK").add(wait.toMillis()));
        }
    }

    private static Long send(
            StatefulRedisConnection<String, String> to,
            Command command,
            CommandArgs<String, String> args) {
        return to.sync().dispatch(command, new IntegerOutput<>(StringCodec.UTF8), args);
    }

    private RedisFuture<Long> dispatch(Command command, CommandArgs<String, String> args) {
        return shared.async().dispatch(command, new IntegerOutput<>(StringCodec.UTF8), args);
    }

    private static CommandArgs<String, String> about(String key, String owner) {
        return new CommandArgs<>(StringCodec.UTF8).addKey(key).add(owner);
    }

    private static CommandArgs<String, String> about(String key, String owner, Duration lease) {
        return about(key, owner).add("PX").add(lease.toMillis());
    }

    private static Thread daemon(Runnable task) {
        Thread thread = new Thread(task, "redis-lock");
        thread.setDaemon(true);
        return thread;
    }

    private record Command(String keyword) implements ProtocolKeyword {
        static final Command ACQUIRE = new Command("LOCK.ACQUIRE");
        static final Command EXTEND = new Command("LOCK.EXTEND");
        static final Command RELEASE = new Command("LOCK.RELEASE");

        @Override
        public byte[] getBytes() {
            return keyword.getBytes(StandardCharsets.US_ASCII);
        }

        @Override
        public String toString() {
            return keyword;
        }
    }

    /** A hold: renewed after every third of its lease, released when closed. */
    public final class Hold implements AutoCloseable {
        private final String key;
        private final String owner;
        private final long fence;
        private final Duration lease;
        private final CompletableFuture<Void> lost = new CompletableFuture<>();
        private final AtomicBoolean closed = new AtomicBoolean();

        /** Until then it is surely held, unless an operator ends it. */
        private volatile long until;

        private volatile Future<?> renewal;

        private Hold(String key, String owner, long fence, Duration lease, long asked) {
            this.key = key;
            this.owner = owner;
            this.fence = fence;
            this.lease = lease;
            this.until = asked + lease.toNanos();
            schedule();
        }

        /** Larger than the fence of every grant of this key before: for the resource to compare. */
        public long fence() {
            return fence;
        }

        public boolean isHeld() {
            return !closed.get() && !lost.isDone() && left() > 0;
        }

        /**
         * Completes when the hold is lost: a renewal was refused, or none came through before the
         * lease was over.
         */
        public CompletableFuture<Void> lost() {
            return lost.copy();
        }

        /**
         * @throws NotHeldException if it had ended before, so that others may have held the lock
         *     meanwhile
         */
        @Override
        public void close() {
            if (closed.getAndSet(true)) {
                return;
            }
            renewal.cancel(false);
            // An interrupted thread releases too.
            boolean interrupted = Thread.interrupted();
            try {
                if (send(shared, Command.RELEASE, about(key, owner)) == 0) {
                    throw new NotHeldException(key);
                }
            } finally {
                if (interrupted) {
                    Thread.currentThread().interrupt();
                }
            }
        }

        private long left() {
            return until - System.nanoTime();
        }

        private void schedule() {
            long pause = Math.min(lease.toNanos() / 3, left());
            renewal = TIMER.schedule(this::tick, pause, TimeUnit.NANOSECONDS);
        }

        private void tick() {
            if (left() <= 0) {
                lose();
            } else if (!closed.get() && !lost.isDone()) {
                schedule();
                renew();
            }
        }

        private void renew() {
            long asked = System.nanoTime();
            dispatch(Command.EXTEND, about(key, owner, lease))
                    .thenAccept(
                            extended -> {
                                if (extended == 1) {
                                    until = asked + lease.toNanos();
                                } else {
                                    lose();
                                }
                            });
            // If this fails, the next tick asks again, or finds the lease over.
        }

        /** After close() a renewal that was under way finds nothing: that is no loss. */
        private void lose() {
            if (!closed.get()) {
                lost.completeAsync(() -> null);
            }
        }
    }

    /** Others held the lock all the time. */
    public static final class NotAcquiredException extends Exception {
        NotAcquiredException(String key) {
            super("not acquired in time: " + key);
        }
    }

    /** The hold had ended before it was released. */
    public static final class NotHeldException extends IllegalStateException {
        NotHeldException(String key) {
            super("the hold had ended before: " + key);
        }
    }
}
