package example;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.net.URI;
import java.time.Duration;
import java.time.Instant;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;

import io.lettuce.core.RedisClient;
import io.lettuce.core.RedisURI;
import net.javacrumbs.shedlock.core.LockConfiguration;
import net.javacrumbs.shedlock.core.SimpleLock;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import redis.clients.jedis.HostAndPort;
import redislock.Hold;
import redislock.Leadership;
import redislock.LockClient;
import redislock.lettuce.LettuceConnector;

/** The programs do what they say, with the server that REDIS_URL names. */
class ExamplesTest {
    private static final String URL = System.getenv("REDIS_URL");

    private final LockClient locks =
            LockClient.builder(LettuceConnector.single(RedisURI.create(URL))).build();

    @BeforeEach
    void empty() {
        try (RedisClient redis = RedisClient.create(URL)) {
            redis.connect().sync().flushall();
        }
    }

    @AfterEach
    void close() {
        locks.close();
    }

    @Test
    void theFirstLockWritesAndALateWriterIsRejected() throws Exception {
        FirstLock.Table table = new FirstLock.Table();
        Hold late = locks.lock("orders:42").acquire(Duration.ofSeconds(60));
        late.release();
        assertTrue(FirstLock.run(locks, table).startsWith("written"));
        assertEquals("paid", table.value());
        assertThrows(IllegalStateException.class, () -> table.write("open", late.fence()));
        FirstLock.main(new String[] {URL});
    }

    @Test
    void locksStandBesideTheApplicationsOwnClient() throws Exception {
        URI uri = URI.create(URL);
        assertEquals("1", Beside.run(new HostAndPort(uri.getHost(), uri.getPort())));
        assertEquals("2", Beside.run(new HostAndPort(uri.getHost(), uri.getPort())));
    }

    @Test
    void aJobRunsOnOneMachine() throws Exception {
        AtomicInteger runs = new AtomicInteger();
        assertTrue(HourlyJob.run(locks, runs::incrementAndGet));
        assertFalse(HourlyJob.run(locks, runs::incrementAndGet));
        assertEquals(1, runs.get());
        HourlyJob.main(new String[] {URL});
    }

    @Test
    void shedLockTakesItsLocks() throws Exception {
        ShedLockProvider provider = new ShedLockProvider(locks, "shedlock:");
        LockConfiguration minute = new LockConfiguration(
                Instant.now(), "task", Duration.ofMinutes(2), Duration.ofMinutes(1));
        SimpleLock lock = provider.lock(minute).orElseThrow();
        assertTrue(provider.lock(minute).isEmpty());
        SimpleLock longer = lock.extend(Duration.ofMinutes(5), Duration.ofMinutes(1)).orElseThrow();
        longer.unlock();
        // The task took less than lockAtLeastFor.
        assertTrue(provider.lock(minute).isEmpty());
        assertEquals("cooling", locks.info("shedlock:task").orElseThrow().mode());
        LockConfiguration brief = new LockConfiguration(Instant.now(), "other", Duration.ofMinutes(2), Duration.ZERO);
        provider.lock(brief).orElseThrow().unlock();
        provider.lock(brief).orElseThrow().unlock();
    }

    @Test
    void aLeaderThatResignsStopsLeading() throws Exception {
        Leadership leadership = locks.leaderElection("leader").session().elect();
        CompletableFuture<Void> leading = CompletableFuture.runAsync(() -> {
            try {
                Leader.lead(leadership);
            } catch (InterruptedException stop) {
                Thread.currentThread().interrupt();
            }
        });
        CompletableFuture<Leadership> next = locks.leaderElection("leader").session().electAsync();
        leadership.resign();
        leading.get(60, TimeUnit.SECONDS);
        next.get(60, TimeUnit.SECONDS).close();
    }
}
