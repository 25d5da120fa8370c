package redislock;

import java.util.List;

/**
 * Makes locks that all have one owner. Use one scope for one piece of work that takes several locks one after the
 * other: only so can the server see a deadlock, and it refuses the request that would close the cycle.
 *
 * <p>For the server, an owner that holds a lock may take it again: it gets the same fence. So do not share one scope
 * between threads that should exclude each other.
 */
public final class OwnerScope implements Locks {
    private final LockClient client;
    private final String owner;

    OwnerScope(LockClient client, String owner) {
        this.client = client;
        this.owner = owner;
    }

    /**
     * The owner of all locks of this scope, as LOCK.INFO shows it.
     *
     * @return {@code label/host/pid/random}
     */
    public String owner() {
        return owner;
    }

    @Override
    public RedisLock lock(String key) {
        return client.lock(key).ownedBy(owner);
    }

    @Override
    public RedisLock sharedLock(String key) {
        return client.sharedLock(key).ownedBy(owner);
    }

    @Override
    public RedisLock semaphore(String key, int limit) {
        return client.semaphore(key, limit).ownedBy(owner);
    }

    @Override
    public RedisLock multiLock(List<String> keys) {
        return client.multiLock(keys).ownedBy(owner);
    }
}
