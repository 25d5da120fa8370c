package redislock;

import static org.junit.jupiter.api.Assertions.assertFalse;

import io.lettuce.core.RedisClient;
import io.lettuce.core.RedisURI;
import io.lettuce.core.api.StatefulRedisConnection;

import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.Test;

import java.time.Duration;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;

class LettuceLockTest extends LockContract {
    private static final RedisClient CLIENT = RedisClient.create(address());
    private static final StatefulRedisConnection<String, String> CONNECTION = CLIENT.connect();

    private final LettuceLock lock = new LettuceLock(CONNECTION, CLIENT::connect);

    private static RedisURI address() {
        RedisURI address = RedisURI.create(Server.url());
        address.setTimeout(READ_TIMEOUT);
        return address;
    }

    @AfterAll
    static void close() {
        CLIENT.shutdown();
    }

    @Test
    void aLossWithTheConnectionIsTold() throws Exception {
        StatefulRedisConnection<String, String> closing = CLIENT.connect();
        LettuceLock.Hold hold =
                new LettuceLock(closing, CLIENT::connect)
                        .acquire(key, Duration.ofMillis(1500), Duration.ZERO);
        closing.close();
        hold.lost().get(60, TimeUnit.SECONDS);
        assertFalse(hold.isHeld());
    }

    @Override
    Hold acquire(String key, Duration lease, Duration wait) throws Exception {
        LettuceLock.Hold hold = lock.acquire(key, lease, wait);
        return new Hold() {
            @Override
            public long fence() {
                return hold.fence();
            }

            @Override
            public boolean isHeld() {
                return hold.isHeld();
            }

            @Override
            public CompletableFuture<Void> lost() {
                return hold.lost();
            }

            @Override
            public void close() {
                hold.close();
            }
        };
    }

    @Override
    Class<? extends Exception> notAcquired() {
        return LettuceLock.NotAcquiredException.class;
    }

    @Override
    Class<? extends Exception> notHeld() {
        return LettuceLock.NotHeldException.class;
    }

    @Override
    void ping() {
        CONNECTION.sync().ping();
    }
}
