package redislock.spring.integration;

import java.time.Duration;
import java.util.Iterator;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Objects;
import java.util.concurrent.locks.Lock;

import org.springframework.integration.support.locks.ExpirableLockRegistry;
import org.springframework.integration.support.locks.RenewableLockRegistry;
import redislock.LockClient;
import redislock.RedisLock;

/**
 * A registry of Spring Integration whose locks exclude all processes that use the same prefix on the same servers.
 *
 * <p>A lock is re-entrant by thread. The threads of this process wait for each other in this process, so a busy lock
 * costs the server one waiter for each process. The lease is renewed in the background, so nobody needs to call
 * {@code renewLock}, and nothing has to be scheduled for it. {@code unlock} throws a
 * {@link java.util.ConcurrentModificationException} if the lock was lost while it was held.
 */
public class LockClientRegistry implements ExpirableLockRegistry, RenewableLockRegistry {
    private static final int CAPACITY = 100_000;

    private final LockClient client;
    private final String prefix;
    private final Duration lease;
    private final Map<String, RegistryLock> locks = new LinkedHashMap<>(16, 0.75f, true);
    private int capacity = CAPACITY;

    /**
     * Makes a registry with the client's lease.
     *
     * @param client takes the locks; the registry does not close it
     * @param prefix stands before each key, with a colon between them
     */
    public LockClientRegistry(LockClient client, String prefix) {
        this(client, prefix, null);
    }

    /**
     * Makes a registry.
     *
     * @param client takes the locks; the registry does not close it
     * @param prefix stands before each key, with a colon between them
     * @param lease how soon a lock is free if this process dies, from 1 ms to 365 days; null: the client's
     */
    public LockClientRegistry(LockClient client, String prefix, Duration lease) {
        this.client = Objects.requireNonNull(client, "client");
        this.prefix = Objects.requireNonNull(prefix, "prefix");
        this.lease = lease;
    }

    /**
     * Sets how many locks the registry remembers. If there are more, those that have not been obtained for longest are
     * forgotten, unless they are held or waited for. The default is 100000.
     *
     * @param capacity from 1
     */
    public void setCacheCapacity(int capacity) {
        if (capacity < 1) {
            throw new IllegalArgumentException("the capacity must be at least 1, not " + capacity);
        }
        this.capacity = capacity;
    }

    @Override
    public Lock obtain(Object lockKey) {
        Objects.requireNonNull(lockKey, "lockKey");
        if (!(lockKey instanceof String key)) {
            throw new IllegalArgumentException("the key of a lock must be a String, not " + lockKey.getClass());
        }
        synchronized (locks) {
            RegistryLock lock = locks.computeIfAbsent(key, this::make);
            lock.touch();
            Iterator<RegistryLock> oldest = locks.values().iterator();
            while (locks.size() > capacity && oldest.hasNext()) {
                RegistryLock candidate = oldest.next();
                if (candidate != lock && !candidate.isUsed()) {
                    oldest.remove();
                }
            }
            return lock;
        }
    }

    private RegistryLock make(String key) {
        RedisLock lock = client.lock(prefix + ":" + key);
        return new RegistryLock(lease == null ? lock : lock.lease(lease));
    }

    /**
     * Forgets locks that have not been used for some time, unless they are held or waited for.
     *
     * @param age milliseconds
     */
    @Override
    public void expireUnusedOlderThan(long age) {
        long now = System.nanoTime();
        synchronized (locks) {
            locks.values().removeIf(lock -> now - lock.touchedAt() > age * 1_000_000L && !lock.isUsed());
        }
    }

    /**
     * Gives a lock that the current thread holds a new lease of the same length now.
     *
     * @param lockKey the key
     * @throws IllegalStateException if the current thread does not hold it
     */
    @Override
    public void renewLock(Object lockKey) {
        renewLock(lockKey, null);
    }

    /**
     * Gives a lock that the current thread holds a new lease now.
     *
     * @param lockKey the key
     * @param newLease from 1 ms to 365 days; null: as long as before
     * @throws IllegalStateException if the current thread does not hold it
     */
    public void renewLock(Object lockKey, Duration newLease) {
        RegistryLock lock;
        synchronized (locks) {
            lock = locks.get(lockKey);
        }
        if (lock == null) {
            throw new IllegalStateException("nobody has obtained the lock " + lockKey);
        }
        lock.renew(newLease);
    }

    /** How many locks the registry remembers. */
    int size() {
        synchronized (locks) {
            return locks.size();
        }
    }
}
