package redislock.micrometer;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.time.Duration;
import java.util.concurrent.TimeUnit;

import io.micrometer.core.instrument.simple.SimpleMeterRegistry;
import org.junit.jupiter.api.Test;
import redislock.Hold;
import redislock.LockClient;
import redislock.testing.FakeLockServer;

class LockMetersTest {
    @Test
    void whatBecomesOfLocksIsCounted() throws Exception {
        SimpleMeterRegistry registry = new SimpleMeterRegistry();
        FakeLockServer server = new FakeLockServer();
        try (LockClient locks = LockClient.builder(server.connector())
                .listener(new LockMeters(registry, "app", "test"))
                .build()) {
            try (Hold hold = locks.lock("k").acquire(Duration.ofMinutes(1))) {
                assertTrue(locks.lock("k").tryAcquire().isEmpty());
            }
            Hold lost = locks.lock("k").withoutRenewal().acquire(Duration.ofMinutes(1));
            server.execute("DEL", "k");
            lost.lost().toCompletableFuture().get(60, TimeUnit.SECONDS);
        }
        assertEquals(2, registry.get("redislock.client.wait").tag("result", "acquired").timer().count());
        assertEquals(1, registry.get("redislock.client.wait").tag("result", "NotAcquiredException").timer().count());
        assertEquals(2, registry.get("redislock.client.hold").tag("app", "test").timer().count());
        assertEquals(1, registry.get("redislock.client.losses").tag("reason", "gone").counter().count());
    }
}
