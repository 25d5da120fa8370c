package redislock;

import redis.clients.jedis.BuilderFactory;
import redis.clients.jedis.CommandArguments;
import redis.clients.jedis.CommandObject;
import redis.clients.jedis.Connection;
import redis.clients.jedis.RedisClient;
import redis.clients.jedis.commands.ProtocolCommand;
import redis.clients.jedis.exceptions.JedisConnectionException;
import redis.clients.jedis.exceptions.JedisException;
import redis.clients.jedis.util.SafeEncoder;

import java.time.Duration;
import java.util.UUID;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.ScheduledThreadPoolExecutor;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.function.Supplier;

/**
 * Locks over the LOCK.* commands of redis-lock, with Jedis. One object serves all threads and keys.
 *
 * <pre>{@code
 * JedisLock lock = new JedisLock(client, () -> new Connection(server, config));
 * try (JedisLock.Hold hold = lock.acquire("orders:42", lease, wait)) {
 *     orders.write(order, hold.fence()); // refuses fences smaller than the largest it saw
 * }
 * }</pre>
 */
public final class JedisLock {
    /** How much later than asked for the end of a wait may be told. */
    private static final Duration GRACE = Duration.ofSeconds(5);

    /** Says when to renew. Nothing in it blocks: what blocks has a thread of its own. */
    private static final ScheduledThreadPoolExecutor TIMER =
            new ScheduledThreadPoolExecutor(1, JedisLock::daemon);

    private static final ExecutorService BLOCKING =
            Executors.newCachedThreadPool(JedisLock::daemon);

    static {
        TIMER.setRemoveOnCancelPolicy(true);
    }

    private final RedisClient client;
    private final Supplier<Connection> connections;

    /**
     * @param client the pool of the application, for the short commands
     * @param connections opens a connection outside the pool, for a wait. In the pool the waits
     *     could take every connection, and the holder would find none to release with.
     */
    public JedisLock(RedisClient client, Supplier<Connection> connections) {
        this.client = client;
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
        // One for each acquisition. Sent twice, the request of one owner gets the same fence.
        String owner = UUID.randomUUID().toString();
        try {
            long asked = System.nanoTime();
            Long fence = send(Command.ACQUIRE, key, owner, "PX", lease.toMillis());
            // BLOCK 0 would wait for ever.
            if (fence == null
                    && wait.toMillis() > 0
                    && awaitTurn(key, owner, lease, wait) != null) {
                // The lease began at the grant, unknown when. Asked again, it runs from here on.
                asked = System.nanoTime();
                fence = send(Command.ACQUIRE, key, owner, "PX", lease.toMillis());
            }
            if (fence == null) {
                throw new NotAcquiredException(key);
            }
            return new Hold(key, owner, fence, lease, asked);
        } catch (InterruptedException | JedisException failed) {
            giveUp(key, owner);
            throw failed;
        }
    }

    /**
     * A blocking read of Jedis does not notice an interrupt. So another thread reads, and this one
     * can be interrupted.
     */
    private Long awaitTurn(String key, String owner, Duration lease, Duration wait)
            throws InterruptedException {
        CommandArguments request = request(Command.ACQUIRE, key, owner, "PX", lease.toMillis());
        request.add("BLOCK").add(wait.toMillis());
        CompletableFuture<Long> answer = new CompletableFuture<>();
        BLOCKING.execute(
                () -> {
                    try (Connection own = connections.get()) {
                        own.setSoTimeout(Math.toIntExact(wait.plus(GRACE).toMillis()));
                        if (!answer.isDone()
                                && !answer.complete((Long) own.executeCommand(request))) {
                            giveUp(key, owner); // Nobody waits for it any more.
                        }
                    } catch (Throwable failed) {
                        answer.completeExceptionally(failed);
                    }
                });
        try {
            return answer.get();
        } catch (InterruptedException interrupted) {
            answer.cancel(false);
            throw interrupted;
        } catch (ExecutionException failed) {
            throw failed.getCause() instanceof RuntimeException cause
                    ? cause
                    : new JedisException(failed.getCause());
        }
    }

    /** Withdraws what waits and ends what is held. */
    private void giveUp(String key, String owner) {
        try {
            send(Command.RELEASE, key, owner);
        } catch (JedisException unreachable) {
            // The lease ends it.
        }
    }

    private Long send(Command command, String key, String owner, Object... options) {
        CommandArguments request = request(command, key, owner, options);
        CommandObject<Long> answered = new CommandObject<>(request, BuilderFactory.LONG);
        try {
            return client.executeCommand(answered);
        } catch (JedisConnectionException lost) {
            // The pool may have had a dead connection. Sent twice, these commands do no harm.
            return client.executeCommand(answered);
        }
    }

    private static CommandArguments request(
            Command command, String key, String owner, Object... options) {
        return new CommandArguments(command).key(key).add(owner).addObjects(options);
    }

    private static Thread daemon(Runnable task) {
        Thread thread = new Thread(task, "redis-lock");
        thread.setDaemon(true);
        return thread;
    }

    private enum Command implements ProtocolCommand {
        ACQUIRE,
        EXTEND,
        RELEASE;

        private final byte[] raw = SafeEncoder.encode("LOCK." + name());

        @Override
        public byte[] getRaw() {
            return raw;
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
            if (send(Command.RELEASE, key, owner) == 0) {
                throw new NotHeldException(key);
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
                BLOCKING.execute(this::renew);
            }
        }

        private void renew() {
            long asked = System.nanoTime();
            try {
                if (send(Command.EXTEND, key, owner, "PX", lease.toMillis()) == 1) {
                    until = asked + lease.toNanos();
                } else {
                    lose();
                }
            } catch (JedisException unreachable) {
                // It may still be held: the next tick asks again, or finds the lease over.
            }
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
