package redislock;

import java.util.List;

/** Makes locks: a {@link LockClient} does, and an {@link OwnerScope}. Making one asks no server. */
public interface Locks {
    /**
     * An exclusive lock: one holder at a time.
     *
     * @param key the key; it must not be used for anything else
     * @return a lock with the client's settings
     */
    RedisLock lock(String key);

    /**
     * A shared lock: any number of holders, never beside an exclusive one.
     *
     * @param key the key, as for the exclusive lock beside which it stands
     * @return a lock with the client's settings
     */
    RedisLock sharedLock(String key);

    /**
     * A counted lock: the holders take at most so many units together.
     *
     * @param key the key
     * @param limit the number of units, from 1 to 1000000. All should give the same one.
     * @return a lock that takes one unit; see {@link RedisLock#weight}
     */
    RedisLock semaphore(String key, int limit);

    /**
     * Several locks that are taken in one step, all or none. Two such requests never wait for each other. In a cluster
     * all keys must be in one slot.
     *
     * @param keys 1 to 64 different keys
     * @return an exclusive lock of all keys; {@link RedisLock#shared} makes it a shared one
     */
    RedisLock multiLock(List<String> keys);

    /**
     * Several locks that are taken in one step, all or none.
     *
     * @param keys 1 to 64 different keys
     * @return an exclusive lock of all keys
     */
    default RedisLock multiLock(String... keys) {
        return multiLock(List.of(keys));
    }

    /**
     * A lock for many readers or one writer. Readers do not pass a writer that waits.
     *
     * @param key the key
     * @return a pair of a shared and an exclusive lock of this key
     */
    default RedisReadWriteLock readWriteLock(String key) {
        return new RedisReadWriteLock(sharedLock(key), lock(key));
    }
}
