package redislock;

import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import static redislock.Server.until;

import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

import redis.clients.jedis.Protocol;

import java.time.Duration;
import java.util.UUID;
import java.util.concurrent.FutureTask;

@Timeout(value = 120, threadMode = Timeout.ThreadMode.SEPARATE_THREAD)
class JedisSessionTest {
    private static final Duration LEASE = Duration.ofMinutes(10);

    private final Server server = new Server();
    private final String key = "leader:" + UUID.randomUUID();

    @AfterEach
    void nobodyWaits() {
        until("nobody waits", () -> server.allWaiters() == 0);
        server.client().del(key);
        server.close();
    }

    @Test
    void theNextOneLeadsAsSoonAsAConnectionBreaks() throws Exception {
        try (JedisSession first =
                JedisSession.acquire(JedisLockTest::connect, key, LEASE, Duration.ZERO)) {
            assertTrue(first.renew());
            FutureTask<JedisSession> next =
                    LockContract.start(
                            () ->
                                    JedisSession.acquire(
                                            JedisLockTest::connect,
                                            key,
                                            LEASE,
                                            LockContract.LONG_WAIT));
            until("the next one waits", () -> server.waiters(key) == 1);
            server.send(
                    Protocol.Command.CLIENT,
                    "KILL",
                    "ID",
                    Long.toString(server.holder(key, "session")));
            try (JedisSession second = next.get()) {
                assertTrue(second.fence() > first.fence());
                assertFalse(first.renew());
                assertFalse(first.renew(), "nor over a new connection");
                assertTrue(second.renew());
            }
        }
        until("free again", () -> !server.isHeld(key));
    }

    @Test
    void aWaitLongerThanTheReadTimeoutRunsOut() throws Exception {
        try (JedisSession first =
                JedisSession.acquire(JedisLockTest::connect, key, LEASE, Duration.ZERO)) {
            Duration wait = LockContract.READ_TIMEOUT.plusSeconds(1);
            assertThrows(
                    JedisLock.NotAcquiredException.class,
                    () -> JedisSession.acquire(JedisLockTest::connect, key, LEASE, wait));
            assertTrue(first.renew());
        }
    }
}
