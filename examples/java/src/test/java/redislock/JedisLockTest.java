package redislock;

import org.junit.jupiter.api.AfterAll;

import redis.clients.jedis.Connection;
import redis.clients.jedis.ConnectionPoolConfig;
import redis.clients.jedis.DefaultJedisClientConfig;
import redis.clients.jedis.JedisClientConfig;
import redis.clients.jedis.RedisClient;

import java.time.Duration;
import java.util.concurrent.CompletableFuture;

class JedisLockTest extends LockContract {
    private static final JedisClientConfig CONFIG =
            DefaultJedisClientConfig.builder()
                    .socketTimeoutMillis((int) READ_TIMEOUT.toMillis())
                    .build();
    private static final RedisClient CLIENT =
            RedisClient.builder()
                    .hostAndPort(Server.address())
                    .clientConfig(CONFIG)
                    .poolConfig(onlyOne())
                    .build();

    private final JedisLock lock = new JedisLock(CLIENT, JedisLockTest::connect);

    static Connection connect() {
        return new Connection(Server.address(), CONFIG);
    }

    /** A pool of one connection stands still as soon as somebody keeps it. */
    private static ConnectionPoolConfig onlyOne() {
        ConnectionPoolConfig config = new ConnectionPoolConfig();
        config.setMaxTotal(1);
        config.setMaxWait(Duration.ofSeconds(30));
        return config;
    }

    @AfterAll
    static void close() {
        CLIENT.close();
    }

    @Override
    Hold acquire(String key, Duration lease, Duration wait) throws Exception {
        JedisLock.Hold hold = lock.acquire(key, lease, wait);
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
        return JedisLock.NotAcquiredException.class;
    }

    @Override
    Class<? extends Exception> notHeld() {
        return JedisLock.NotHeldException.class;
    }

    @Override
    void ping() {
        CLIENT.ping();
    }
}
