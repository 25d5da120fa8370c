package redislock;

import java.time.Duration;
import java.util.ArrayList;
import java.util.Iterator;
import java.util.List;
import java.util.Objects;
import java.util.Optional;
import java.util.Spliterator;
import java.util.Spliterators;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executor;
import java.util.concurrent.Executors;
import java.util.function.LongBinaryOperator;
import java.util.stream.Stream;
import java.util.stream.StreamSupport;

import redislock.internal.Durations;
import redislock.internal.Engine;
import redislock.internal.LeaseClock;
import redislock.internal.Options;
import redislock.internal.Pages;
import redislock.internal.Request;
import redislock.internal.Waits;
import redislock.spi.Connector;

/**
 * Makes and keeps locks. One client serves all threads and keys of an application. An adapter makes the
 * {@link Connector}:
 *
 * <pre>{@code
 * LockClient locks = LockClient.builder(LettuceConnector.single(RedisURI.create("redis://localhost")))
 *         .label("billing")
 *         .build();
 * try (Hold hold = locks.lock("orders:42").acquire(Duration.ofSeconds(5))) {
 *     orders.save(order, hold.fence());
 * }
 * }</pre>
 *
 * <p>The client has two connections to each server that it uses, and one for each wait and each session. It opens them
 * when they are needed.
 */
public final class LockClient implements Locks, AutoCloseable {
    private final Engine engine;
    private final ThreadHolds threadHolds = new ThreadHolds();
    private final Duration closeTimeout;
    private final ExecutorService own;

    private LockClient(Builder builder) {
        own = builder.executor == null ? Executors.newCachedThreadPool(LockClient::daemon) : null;
        closeTimeout = builder.closeTimeout;
        engine = new Engine(builder.connector, builder.options(own == null ? builder.executor : own));
    }

    private static Thread daemon(Runnable task) {
        Thread thread = new Thread(task, "redis-lock-callback");
        thread.setDaemon(true);
        return thread;
    }

    /**
     * Begins to build a client.
     *
     * @param connector how to reach the servers. The client closes it at its own end.
     * @return a builder with the default settings
     */
    public static Builder builder(Connector connector) {
        return new Builder(connector);
    }

    Engine engine() {
        return engine;
    }

    Options options() {
        return engine.options();
    }

    ThreadHolds threadHolds() {
        return threadHolds;
    }

    @Override
    public RedisLock lock(String key) {
        return new RedisLock(this, List.of(key), Request.Mode.EXCLUSIVE, 0, false);
    }

    @Override
    public RedisLock sharedLock(String key) {
        return new RedisLock(this, List.of(key), Request.Mode.SHARED, 0, false);
    }

    @Override
    public RedisLock semaphore(String key, int limit) {
        return new RedisLock(this, List.of(key), Request.Mode.COUNTED, limit, false);
    }

    @Override
    public RedisLock multiLock(List<String> keys) {
        return new RedisLock(this, keys, Request.Mode.EXCLUSIVE, 0, true);
    }

    /**
     * Begins a piece of work that takes several locks under one owner.
     *
     * @return a scope with a new owner
     */
    public OwnerScope owner() {
        return new OwnerScope(this, engine.newOwner());
    }

    /**
     * An election of one leader among all processes that name this key.
     *
     * @param key the key; it must not be used for anything else
     * @return an election with the client's lease
     */
    public LeaderElection leaderElection(String key) {
        return new LeaderElection(this, lock(key));
    }

    /**
     * Asks who holds a lock and who waits for it.
     *
     * @param key the key
     * @return nothing if the lock is free and nobody waits
     * @throws LockException if the server refused it or cannot be reached
     */
    public Optional<LockInfo> info(String key) {
        return Optional.ofNullable(Waits.uninterruptibly(infoLater(key)));
    }

    /**
     * Asks without blocking who holds a lock and who waits for it.
     *
     * @param key the key
     * @return nothing if the lock is free and nobody waits
     */
    public CompletableFuture<Optional<LockInfo>> infoAsync(String key) {
        return infoLater(key).thenApply(Optional::ofNullable);
    }

    private CompletableFuture<LockInfo> infoLater(String key) {
        return Pages.info(engine, key);
    }

    /**
     * Lists locks, of all primaries if there are several. A lock that is held all the time is listed, perhaps twice.
     *
     * @param query which locks
     * @return a stream that asks the servers as it is read, and throws {@link LockException} if they refuse
     */
    public Stream<LockEntry> list(LockQuery query) {
        Iterator<LockEntry> entries = new Pages(engine, query.pattern(), query.owner());
        return StreamSupport.stream(
                Spliterators.spliteratorUnknownSize(entries, Spliterator.ORDERED | Spliterator.NONNULL), false);
    }

    /**
     * The locks that most clients wait for, the most contended first.
     *
     * @param count how many at most, from 1 to 1000
     * @return the locks of all primaries
     * @throws LockException if a server refused it or cannot be reached
     */
    public List<LockEntry> top(int count) {
        if (count < 1 || count > 1000) {
            throw new IllegalArgumentException("the number of locks must be from 1 to 1000, not " + count);
        }
        return Pages.top(engine, count);
    }

    /**
     * How many connections this client has opened so far.
     *
     * @return the number, attempts that failed included
     */
    public long connectionsOpened() {
        return engine.connectionsOpened();
    }

    /**
     * How many holds this client has now.
     *
     * @return the number
     */
    public int holds() {
        return engine.holds();
    }

    /**
     * Ends the client: acquisitions that go on fail with {@link ClientClosedException}, and holds are released and
     * count as lost. It waits for the servers for the time of {@link Builder#closeTimeout} at most. What a server has
     * not heard of by then ends with its lease.
     */
    @Override
    public void close() {
        engine.close(closeTimeout);
        if (own != null) {
            own.shutdown();
        }
    }

    /** The settings of a client. */
    public static final class Builder {
        private final Connector connector;
        private String label;
        private Duration lease = Duration.ofSeconds(30);
        private boolean renew = true;
        private Duration requestTimeout = Duration.ofSeconds(1);
        private Duration probeInterval = Duration.ofSeconds(2);
        private Duration closeTimeout = Duration.ofSeconds(2);
        private boolean tracking = true;
        private boolean shareWaits;
        private int maxWaits = 2000;
        private int maxIdle = 32;
        private final List<LockListener> listeners = new ArrayList<>();
        private Executor executor;
        private LeaseClock clock;
        private LongBinaryOperator jitter = Builder::random;

        private Builder(Connector connector) {
            this.connector = Objects.requireNonNull(connector, "connector");
        }

        private static long random(long low, long high) {
            return low >= high ? low : java.util.concurrent.ThreadLocalRandom.current().nextLong(low, high);
        }

        /**
         * Sets the first part of all owners, for whoever reads LOCK.INFO.
         *
         * @param name such as the name of the application. Together with the names of the host and the process it may
         *     take 1000 bytes.
         * @return this builder
         */
        public Builder label(String name) {
            this.label = name;
            return this;
        }

        /**
         * Sets the lease of locks that name none. The default is 30 seconds.
         *
         * @param duration from 1 ms to 365 days
         * @return this builder
         */
        public Builder lease(Duration duration) {
            Durations.lease(duration);
            this.lease = duration;
            return this;
        }

        /**
         * Sets whether holds are renewed, unless the lock says otherwise. The default is true.
         *
         * @param renewed whether they are
         * @return this builder
         */
        public Builder renew(boolean renewed) {
            this.renew = renewed;
            return this;
        }

        /**
         * Sets how long a server may take to answer before it is looked after. The default is a second. No answer alone
         * ends neither a hold nor a connection.
         *
         * @param timeout from 10 ms
         * @return this builder
         */
        public Builder requestTimeout(Duration timeout) {
            this.requestTimeout = atLeast("the request timeout", timeout);
            return this;
        }

        /**
         * Sets how often a server is asked for a sign of life while somebody waits there. The default is 2 seconds.
         *
         * @param interval from 10 ms
         * @return this builder
         */
        public Builder probeInterval(Duration interval) {
            this.probeInterval = atLeast("the probe interval", interval);
            return this;
        }

        /**
         * Sets how long {@link LockClient#close} waits for the servers at most. The default is 2 seconds.
         *
         * @param timeout from zero
         * @return this builder
         */
        public Builder closeTimeout(Duration timeout) {
            if (timeout.isNegative()) {
                throw new IllegalArgumentException("the close timeout must not be negative, and is " + timeout);
            }
            this.closeTimeout = timeout;
            return this;
        }

        /**
         * Sets whether the server is asked to tell when a lock changes, so that a loss is known at once. The default is
         * true. Without it, the next renewal notices a loss.
         *
         * @param tracked whether it is asked
         * @return this builder
         */
        public Builder tracking(boolean tracked) {
            this.tracking = tracked;
            return this;
        }

        /**
         * Sets whether the waits of this client for one key stand behind one wait in the server. A hot lock then costs
         * the server one waiter for each process, and processes get it in turn. The default is false.
         *
         * @param shared whether they do
         * @return this builder
         */
        public Builder shareWaits(boolean shared) {
            this.shareWaits = shared;
            return this;
        }

        /**
         * Sets how many acquisitions may wait in servers at a time, each on a connection of its own. Others stand in
         * line before them, in this process. The default is 2000.
         *
         * @param waits from 1
         * @return this builder
         */
        public Builder maxWaits(int waits) {
            if (waits < 1) {
                throw new IllegalArgumentException("at least one wait must be allowed, not " + waits);
            }
            this.maxWaits = waits;
            return this;
        }

        /**
         * Sets how many connections of waits are kept open for the next ones, for each server. The default is 32. One
         * that has not been used for 30 seconds is closed.
         *
         * @param links from 0
         * @return this builder
         */
        public Builder maxIdle(int links) {
            if (links < 0) {
                throw new IllegalArgumentException("the number of connections must not be negative, and is " + links);
            }
            this.maxIdle = links;
            return this;
        }

        /**
         * Adds somebody who is told what becomes of locks.
         *
         * @param listener the listener
         * @return this builder
         */
        public Builder listener(LockListener listener) {
            listeners.add(Objects.requireNonNull(listener, "listener"));
            return this;
        }

        /**
         * Sets where dependents of {@link Hold#lost} and observers of elections run. By default each runs on a thread
         * of a pool that grows with need.
         *
         * @param callbacks the executor; the client does not shut it down
         * @return this builder
         */
        public Builder executor(Executor callbacks) {
            this.executor = Objects.requireNonNull(callbacks, "executor");
            return this;
        }

        /** For tests. */
        Builder clock(LeaseClock leases) {
            this.clock = leases;
            return this;
        }

        /** For tests. */
        Builder jitter(LongBinaryOperator draw) {
            this.jitter = draw;
            return this;
        }

        private static Duration atLeast(String what, Duration duration) {
            if (duration.toMillis() < 10) {
                throw new IllegalArgumentException(what + " must be at least 10 ms, and is " + duration);
            }
            return duration;
        }

        private Options options(Executor callbacks) {
            return new Options(label, lease, renew, requestTimeout, probeInterval, tracking, shareWaits, maxWaits,
                    maxIdle, List.copyOf(listeners), callbacks, clock == null ? LeaseClock.system() : clock, jitter);
        }

        /**
         * Builds the client. No connection is opened yet.
         *
         * @return a new client
         */
        public LockClient build() {
            return new LockClient(this);
        }
    }
}
