package redislock;

import java.util.concurrent.locks.Lock;
import java.util.concurrent.locks.ReadWriteLock;

/** A shared and an exclusive lock of one key. */
public final class RedisReadWriteLock {
    private final RedisLock read;
    private final RedisLock write;

    RedisReadWriteLock(RedisLock read, RedisLock write) {
        this.read = read;
        this.write = write;
    }

    /**
     * The lock of readers.
     *
     * @return the shared lock
     */
    public RedisLock read() {
        return read;
    }

    /**
     * The lock of writers.
     *
     * @return the exclusive lock
     */
    public RedisLock write() {
        return write;
    }

    /**
     * The same pair, re-entrant by thread. A thread that writes may also read. A thread that reads cannot become a
     * writer without releasing first: {@link RedisLock#acquire()} then throws an {@link IllegalStateException}.
     *
     * @return a new pair
     */
    public RedisReadWriteLock reentrant() {
        return new RedisReadWriteLock(read.reentrant(), write.reentrant());
    }

    /**
     * The pair as the JDK's interface. See {@link RedisLock#asLock}.
     *
     * @return a view
     */
    public ReadWriteLock asReadWriteLock() {
        Lock readView = read.asLock();
        Lock writeView = write.asLock();
        return new ReadWriteLock() {
            @Override
            public Lock readLock() {
                return readView;
            }

            @Override
            public Lock writeLock() {
                return writeView;
            }
        };
    }
}
