package redislock;

import java.time.Duration;
import java.util.List;
import java.util.Objects;
import java.util.Optional;
import java.util.concurrent.CancellationException;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.locks.Lock;

import redislock.internal.Acquisition;
import redislock.internal.Durations;
import redislock.internal.HoldHandle;
import redislock.internal.Request;
import redislock.internal.Request.Mode;
import redislock.internal.Waits;

/**
 * A lock with its settings. It is immutable and belongs to no thread: each method that changes a setting returns a new
 * lock, and each acquisition is independent of the others, with an owner of its own.
 *
 * <pre>{@code
 * RedisLock lock = locks.lock("orders:42").lease(Duration.ofSeconds(10));
 * try (Hold hold = lock.acquire(Duration.ofSeconds(5))) {
 *     orders.save(order, hold.fence());
 * }
 * }</pre>
 */
public final class RedisLock {
    private final LockClient client;
    private final Settings settings;

    private record Settings(
            List<String> keys,
            Mode mode,
            int limit,
            int weight,
            boolean multi,
            Duration lease,
            boolean renew,
            boolean session,
            Duration max,
            Duration delay,
            int durable,
            Duration durableTimeout,
            String owner,
            boolean reentrant) {}

    /** Something to do while a lock is held. */
    @FunctionalInterface
    public interface Job<X extends Exception> {
        /**
         * Does it.
         *
         * @param hold the hold, with the fence for what is written
         * @throws X whatever the job throws
         */
        void run(Hold hold) throws X;
    }

    RedisLock(LockClient client, List<String> keys, Mode mode, int limit, boolean multi) {
        this(client, new Settings(List.copyOf(keys), mode, limit, 1, multi, client.options().lease(),
                client.options().renew(), false, null, null, 0, Duration.ofSeconds(1), null, false));
        keys.forEach(key -> Objects.requireNonNull(key, "key"));
        if (keys.isEmpty() || keys.size() > 64 || keys.stream().distinct().count() != keys.size()) {
            throw new IllegalArgumentException("a lock needs 1 to 64 different keys, not " + keys);
        }
        if (mode == Mode.COUNTED && (limit < 1 || limit > 1_000_000)) {
            throw new IllegalArgumentException("the limit must be from 1 to 1000000, not " + limit);
        }
    }

    private RedisLock(LockClient client, Settings settings) {
        this.client = client;
        this.settings = settings;
    }

    /**
     * The keys of this lock.
     *
     * @return one key, except for {@link Locks#multiLock}
     */
    public List<String> keys() {
        return settings.keys;
    }

    /**
     * Sets the lease: how soon the lock is free if this process dies. While it lives, the lease is renewed.
     *
     * @param lease from 1 ms to 365 days
     * @return a lock with this setting
     */
    public RedisLock lease(Duration lease) {
        Durations.lease(lease);
        Settings s = settings;
        return with(new Settings(s.keys, s.mode, s.limit, s.weight, s.multi, lease, s.renew, s.session, s.max, s.delay,
                s.durable, s.durableTimeout, s.owner, s.reentrant));
    }

    /**
     * The lease of this lock.
     *
     * @return what {@link #lease(Duration)} set, or the client's
     */
    public Duration lease() {
        return settings.lease;
    }

    /**
     * Turns renewal off: the hold ends with its lease, unless {@link Hold#extend} is called.
     *
     * @return a lock with this setting
     */
    public RedisLock withoutRenewal() {
        return renewed(false);
    }

    /**
     * Turns renewal on, a third of the lease after the last one.
     *
     * @return a lock with this setting
     */
    public RedisLock withRenewal() {
        return renewed(true);
    }

    private RedisLock renewed(boolean renew) {
        Settings s = settings;
        return with(new Settings(s.keys, s.mode, s.limit, s.weight, s.multi, s.lease, renew, s.session, s.max, s.delay,
                s.durable, s.durableTimeout, s.owner, s.reentrant));
    }

    /**
     * Makes the hold end with its connection too: at once if this process dies. The hold keeps a connection of its own.
     *
     * @return a lock with this setting
     */
    public RedisLock session() {
        Settings s = settings;
        return with(new Settings(s.keys, s.mode, s.limit, s.weight, s.multi, s.lease, s.renew, true, s.max, s.delay,
                s.durable, s.durableTimeout, s.owner, s.reentrant));
    }

    /**
     * Bounds the hold: it ends at the latest this long after its grant, however often it is renewed.
     *
     * @param max from 1 ms to 365 days
     * @return a lock with this setting
     */
    public RedisLock max(Duration max) {
        Durations.max(max);
        Settings s = settings;
        return with(new Settings(s.keys, s.mode, s.limit, s.weight, s.multi, s.lease, s.renew, s.session, max, s.delay,
                s.durable, s.durableTimeout, s.owner, s.reentrant));
    }

    /**
     * Delays the next grant after a hold that was not released but ended by its lease, by its {@code max} or by its
     * session. That gives requests time to arrive that the dead holder had on their way to other systems.
     *
     * @param delay from 1 ms to an hour
     * @return a lock with this setting
     */
    public RedisLock delay(Duration delay) {
        Durations.delay(delay);
        if (settings.mode != Mode.EXCLUSIVE || settings.multi) {
            throw new IllegalStateException("only an exclusive lock of one key can have a delay");
        }
        Settings s = settings;
        return with(new Settings(s.keys, s.mode, s.limit, s.weight, s.multi, s.lease, s.renew, s.session, s.max, delay,
                s.durable, s.durableTimeout, s.owner, s.reentrant));
    }

    /**
     * Takes more than one unit of a semaphore.
     *
     * @param weight from 1 to the limit
     * @return a lock with this setting
     */
    public RedisLock weight(int weight) {
        if (settings.mode != Mode.COUNTED || weight < 1 || weight > settings.limit) {
            throw new IllegalArgumentException("only a semaphore has a weight, from 1 to its limit, not " + weight);
        }
        Settings s = settings;
        return with(new Settings(s.keys, s.mode, s.limit, weight, s.multi, s.lease, s.renew, s.session, s.max, s.delay,
                s.durable, s.durableTimeout, s.owner, s.reentrant));
    }

    /**
     * Makes it a shared lock of the same keys.
     *
     * @return a lock with this setting
     */
    public RedisLock shared() {
        Settings s = settings;
        return with(new Settings(s.keys, Mode.SHARED, 0, 1, s.multi, s.lease, s.renew, s.session, s.max, null,
                s.durable, s.durableTimeout, s.owner, s.reentrant));
    }

    /**
     * Lets a grant count only if enough replicas confirm in time that they have it. If they do not, the lock is
     * released, and the acquisition fails with {@link NotDurableException}.
     *
     * @param replicas how many, from 1
     * @param timeout how long they may take, from 1 ms
     * @return a lock with this setting
     */
    public RedisLock durable(int replicas, Duration timeout) {
        if (replicas < 1 || timeout.toMillis() < 1) {
            throw new IllegalArgumentException("at least one replica must have at least 1 ms to confirm the grant");
        }
        Settings s = settings;
        return with(new Settings(s.keys, s.mode, s.limit, s.weight, s.multi, s.lease, s.renew, s.session, s.max,
                s.delay, replicas, timeout, s.owner, s.reentrant));
    }

    /**
     * Makes the lock re-entrant by thread: a thread that holds it acquires it again at once, from any lock object of
     * this client with the same keys that is re-entrant too. The lock is released when the last of these holds is
     * released. All must be released by the thread that acquired them.
     *
     * @return a lock with this setting
     */
    public RedisLock reentrant() {
        Settings s = settings;
        return with(new Settings(s.keys, s.mode, s.limit, s.weight, s.multi, s.lease, s.renew, s.session, s.max,
                s.delay, s.durable, s.durableTimeout, s.owner, true));
    }

    RedisLock ownedBy(String owner) {
        Settings s = settings;
        return with(new Settings(s.keys, s.mode, s.limit, s.weight, s.multi, s.lease, s.renew, s.session, s.max,
                s.delay, s.durable, s.durableTimeout, owner, s.reentrant));
    }

    private RedisLock with(Settings changed) {
        return new RedisLock(client, changed);
    }

    /**
     * Acquires the lock and waits for it without limit.
     *
     * @return the hold
     * @throws InterruptedException if the thread was interrupted; nothing is left behind
     * @throws LockException if the server refused it; see its subclasses
     */
    public Hold acquire() throws InterruptedException {
        return acquire(-1);
    }

    /**
     * Acquires the lock and waits for it in the server's queue.
     *
     * @param timeout how long to wait at most; zero does not wait
     * @return the hold
     * @throws NotAcquiredException if others held the lock for all of this time
     * @throws InterruptedException if the thread was interrupted; nothing is left behind
     * @throws LockException if the server refused it; see its subclasses
     */
    public Hold acquire(Duration timeout) throws InterruptedException {
        return acquire(Durations.timeout(timeout));
    }

    /**
     * Acquires the lock if it is free.
     *
     * @return the hold, or nothing if others hold the lock
     * @throws InterruptedException if the thread was interrupted; nothing is left behind
     * @throws LockException if the server refused it; see its subclasses
     */
    public Optional<Hold> tryAcquire() throws InterruptedException {
        return tryAcquire(Duration.ZERO);
    }

    /**
     * Acquires the lock and waits for it in the server's queue.
     *
     * @param timeout how long to wait at most; zero does not wait
     * @return the hold, or nothing if others held the lock for all of this time
     * @throws InterruptedException if the thread was interrupted; nothing is left behind
     * @throws LockException if the server refused it; see its subclasses
     */
    public Optional<Hold> tryAcquire(Duration timeout) throws InterruptedException {
        try {
            return Optional.of(acquire(timeout));
        } catch (NotAcquiredException busy) {
            return Optional.empty();
        }
    }

    private Hold acquire(long timeout) throws InterruptedException {
        if (settings.reentrant) {
            return client.threadHolds().acquire(settings.keys, settings.mode, () -> acquireOnce(timeout));
        }
        return new Hold(acquireOnce(timeout));
    }

    private HoldHandle acquireOnce(long timeout) throws InterruptedException {
        if (Thread.interrupted()) {
            throw new InterruptedException("interrupted before " + settings.keys + " was asked for");
        }
        Acquisition acquisition = begin(timeout);
        try {
            return new HoldHandle(client.engine(), acquisition.result().get());
        } catch (InterruptedException interrupted) {
            acquisition.cancel();
            // It may have been granted at this very moment.
            acquisition.result().thenAccept(hold -> client.engine().release(hold, 0));
            throw interrupted;
        } catch (ExecutionException failed) {
            throw Waits.unchecked(failed);
        }
    }

    /**
     * Acquires the lock without blocking, and waits for it without limit.
     *
     * @return completes with the hold, or fails with a {@link LockException}. Cancelling it gives the acquisition up,
     *     and leaves nothing behind. Only this very future does that, not one that was derived from it.
     */
    public CompletableFuture<Hold> acquireAsync() {
        return acquireAsync(-1);
    }

    /**
     * Acquires the lock without blocking, and waits for it in the server's queue.
     *
     * @param timeout how long to wait at most; zero does not wait
     * @return completes with the hold, or fails with a {@link LockException}. Cancelling it gives the acquisition up,
     *     and leaves nothing behind. Only this very future does that, not one that was derived from it.
     */
    public CompletableFuture<Hold> acquireAsync(Duration timeout) {
        return acquireAsync(Durations.timeout(timeout));
    }

    private CompletableFuture<Hold> acquireAsync(long timeout) {
        if (settings.reentrant) {
            throw new IllegalStateException("a re-entrant lock belongs to a thread and cannot be acquired without one");
        }
        Acquisition acquisition = begin(timeout);
        CompletableFuture<Hold> future = new CompletableFuture<>();
        acquisition.result().whenComplete((state, error) -> {
            if (error instanceof CancellationException) {
                future.cancel(false);
            } else if (error != null) {
                future.completeExceptionally(error);
            } else if (!future.complete(new Hold(new HoldHandle(client.engine(), state)))) {
                client.engine().release(state, 0);
            }
        });
        // Also if the caller sets a time-out of its own.
        future.whenComplete((hold, error) -> {
            if (error != null) {
                acquisition.cancel();
            }
        });
        return future;
    }

    private Acquisition begin(long timeout) {
        Settings s = settings;
        boolean owned = s.owner != null;
        Request request = new Request(
                s.keys, owned ? s.owner : client.engine().newOwner(), Durations.lease(s.lease), s.mode, s.limit,
                s.weight, s.session, s.max == null ? 0 : Durations.max(s.max),
                s.delay == null ? 0 : Durations.delay(s.delay), s.multi);
        return client.engine().acquire(request,
                new Acquisition.Terms(timeout, s.renew, s.durable, s.durableTimeout, owned));
    }

    /**
     * Runs a job unless somebody else runs it, or has run it a short time ago. However many machines try, it runs once.
     * If the job fails, the lock is released at once, and others may run it.
     *
     * @param period how long after the end of the job nobody runs it again: longer than the clocks of the machines
     *     differ, and shorter than the time between two runs. From 1 ms to 365 days.
     * @param job what to do
     * @param <X> what the job throws
     * @return whether it ran
     * @throws X what the job threw
     * @throws NotHeldException if the lock was lost while the job ran
     * @throws InterruptedException if the thread was interrupted before the job began
     */
    public <X extends Exception> boolean runOncePer(Duration period, Job<X> job) throws X, InterruptedException {
        Durations.cooling(period);
        if (settings.mode != Mode.EXCLUSIVE || settings.multi || settings.reentrant) {
            throw new IllegalStateException("only an exclusive lock of one key, that is not re-entrant, can cool");
        }
        Optional<Hold> granted = tryAcquire();
        if (granted.isEmpty()) {
            return false;
        }
        // Closing it after a failure releases it without cooling.
        try (Hold hold = granted.get()) {
            job.run(hold);
            hold.release(period);
        }
        return true;
    }

    /**
     * This lock as the JDK's interface. {@code lock()} waits without limit and cannot be interrupted. {@code unlock()}
     * must be called by the thread that locked, and throws {@link NotHeldException} if the lock was lost meanwhile.
     * Conditions are not supported. Unless the lock is {@link #reentrant}, a thread that locks twice gets an
     * {@link IllegalStateException}, because it would wait for itself for ever.
     *
     * @return a view; its holds are its own
     */
    public Lock asLock() {
        return new LockView(this, settings.reentrant);
    }

    @Override
    public String toString() {
        return "RedisLock[" + String.join(", ", settings.keys) + ", " + settings.mode + "]";
    }
}
