package example;

import java.time.Duration;

import io.lettuce.core.RedisClient;
import io.lettuce.core.RedisURI;
import redislock.Hold;
import redislock.LockClient;
import redislock.NotAcquiredException;
import redislock.lettuce.LettuceConnector;

/** Changes a table under a lock. The table rejects a fence that is smaller than the largest it has seen. */
public final class FirstLock {
    private FirstLock() {}

    /** The argument is the server's address; without it the one on this machine is used. */
    public static void main(String[] arguments) throws InterruptedException {
        RedisURI uri = RedisURI.create(arguments.length > 0 ? arguments[0] : "redis://localhost");
        Table table = new Table();
        try (RedisClient redis = RedisClient.create();
                LockClient locks = LockClient.builder(
                                LettuceConnector.single(uri).withResources(redis.getResources()))
                        .label("first-lock")
                        .build()) {
            System.out.println(run(locks, table));
        }
    }

    static String run(LockClient locks, Table table) throws InterruptedException {
        try (Hold hold = locks.lock("orders:42").acquire(Duration.ofSeconds(5))) {
            // Stops the work if the lock is lost; the fence protects the table in any case.
            hold.requireHeld();
            table.write("paid", hold.fence());
            return "written with fence " + hold.fence();
        } catch (NotAcquiredException busy) {
            return "somebody else works on it";
        }
    }

    /** A resource that compares fences. */
    static final class Table {
        private String value;
        private long largest;

        synchronized void write(String newValue, long fence) {
            if (fence < largest) {
                throw new IllegalStateException("a later holder has written already");
            }
            largest = fence;
            value = newValue;
        }

        synchronized String value() {
            return value;
        }
    }
}
