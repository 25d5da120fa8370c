package redislock.tests;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static redislock.tests.Server.until;

import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.CancellationException;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicReference;

import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import redislock.DeadlockException;
import redislock.Hold;
import redislock.Leadership;
import redislock.LeaderElection;
import redislock.LockClient;
import redislock.LockInfo;
import redislock.LockQuery;
import redislock.LossReason;
import redislock.NotAcquiredException;
import redislock.NotHeldException;
import redislock.OwnerScope;
import redislock.RedisLock;
import redislock.RedisReadWriteLock;
import redislock.WrongTypeException;
import redislock.spi.Connector;

/** What a client does, whatever is behind it: a server over Lettuce or Jedis, or the one in memory. */
abstract class LockContract {
    static final Duration LONG = Duration.ofMinutes(1);

    LockClient locks;

    abstract Connector connector();

    /** An operator's command. */
    abstract Object operator(Object... words);

    @BeforeEach
    void open() {
        locks = LockClient.builder(connector()).label("contract").build();
    }

    @AfterEach
    void close() {
        locks.close();
    }

    LockInfo info(String key) {
        return locks.info(key).orElseThrow();
    }

    void taken(String key) {
        operator("LOCK.ACQUIRE", key, "operator", "PX", 600_000);
    }

    void given(String key) {
        operator("LOCK.RELEASE", key, "operator");
    }

    void waiting(String key, int count) {
        until(count + " wait for " + key, () -> locks.info(key).map(LockInfo::waiters).orElse(0L) == count);
    }

    void free(String key) {
        until(key + " is free", () -> locks.info(key).isEmpty());
    }

    @Test
    void aFreeLockIsHeldAndReleased() throws Exception {
        try (Hold hold = locks.lock("k").acquire(LONG)) {
            assertTrue(hold.isHeld());
            assertTrue(hold.fence() > 0);
            assertEquals(Map.of("k", hold.fence()), hold.fences());
            assertTrue(hold.owner().startsWith("contract/"));
            assertTrue(hold.owner().contains("/" + ProcessHandle.current().pid() + "/"));
            assertEquals(hold.owner(), info("k").holders().get(0).owner());
            assertEquals(hold.fence(), hold.check().fence());
            assertTrue(hold.remaining().compareTo(Duration.ofSeconds(30)) <= 0);
        }
        assertTrue(locks.info("k").isEmpty());
    }

    @Test
    void aTakenLockIsNotAcquired() throws Exception {
        taken("k");
        assertTrue(locks.lock("k").tryAcquire().isEmpty());
        assertTrue(locks.lock("k").tryAcquire(Duration.ofMillis(50)).isEmpty());
        assertThrows(NotAcquiredException.class, () -> locks.lock("k").acquire(Duration.ofMillis(50)));
        waiting("k", 0);
    }

    @Test
    void waitsAreGrantedInTheirOrder() throws Exception {
        taken("k");
        List<Integer> order = new CopyOnWriteArrayList<>();
        List<CompletableFuture<Void>> waits = new ArrayList<>();
        for (int i = 0; i < 5; i++) {
            int number = i;
            waits.add(locks.lock("k").acquireAsync().thenCompose(hold -> {
                order.add(number);
                return hold.releaseAsync();
            }));
            waiting("k", i + 1);
        }
        given("k");
        CompletableFuture.allOf(waits.toArray(CompletableFuture[]::new)).get(60, TimeUnit.SECONDS);
        assertEquals(List.of(0, 1, 2, 3, 4), order);
    }

    @Test
    void aCancelledWaitLeavesTheQueue() {
        taken("k");
        CompletableFuture<Hold> wait = locks.lock("k").acquireAsync();
        waiting("k", 1);
        wait.cancel(true);
        waiting("k", 0);
        given("k");
        free("k");
        assertThrows(CancellationException.class, wait::join);
    }

    @Test
    void aTimeOutOfTheCallersOwnEndsTheAcquisitionToo() {
        taken("k");
        CompletableFuture<Hold> wait = locks.lock("k").acquireAsync().orTimeout(50, TimeUnit.MILLISECONDS);
        until("it ended", wait::isDone);
        waiting("k", 0);
    }

    @Test
    void anInterruptEndsTheWait() throws Exception {
        taken("k");
        AtomicReference<Throwable> seen = new AtomicReference<>();
        Thread thread = new Thread(() -> {
            try {
                locks.lock("k").acquire();
            } catch (Throwable error) {
                seen.set(error);
            }
        });
        thread.start();
        waiting("k", 1);
        thread.interrupt();
        thread.join(60_000);
        assertTrue(seen.get() instanceof InterruptedException, () -> "" + seen.get());
        waiting("k", 0);
    }

    @Test
    void aHoldIsRenewed() throws Exception {
        try (Hold hold = locks.lock("k").lease(Duration.ofSeconds(2)).acquire(LONG)) {
            long end = System.nanoTime() + 2_600_000_000L;
            while (System.nanoTime() < end) {
                assertTrue(hold.isHeld());
                Thread.sleep(50);
            }
            assertEquals(hold.fence(), info("k").holders().get(0).fence());
        }
    }

    @Test
    void aHoldThatIsNotRenewedIsLost() throws Exception {
        Hold hold = locks.lock("k").lease(Duration.ofMillis(300)).withoutRenewal().acquire(LONG);
        LossReason reason = hold.lost().toCompletableFuture().get(60, TimeUnit.SECONDS);
        assertTrue(reason == LossReason.EXPIRED || reason == LossReason.GONE, () -> "" + reason);
        assertFalse(hold.isHeld());
        assertThrows(NotHeldException.class, hold::requireHeld);
        assertThrows(NotHeldException.class, hold::release);
        hold.close();
    }

    @Test
    void aLossIsToldAtOnce() throws Exception {
        Hold hold = locks.lock("k").lease(Duration.ofMinutes(10)).acquire(LONG);
        Thread.sleep(200);
        operator("DEL", "k");
        assertEquals(LossReason.GONE, hold.lost().toCompletableFuture().get(10, TimeUnit.SECONDS));
        assertEquals(LossReason.GONE, assertThrows(NotHeldException.class, hold::release).reason());
    }

    @Test
    void whatSomebodyEndedCannotBeExtendedOrReleased() throws Exception {
        Hold hold = locks.lock("k").acquire(LONG);
        operator("DEL", "k");
        assertThrows(NotHeldException.class, () -> hold.extend(LONG));
        assertFalse(hold.isHeld());
        Hold other = locks.lock("l").acquire(LONG);
        operator("DEL", "l");
        assertThrows(NotHeldException.class, other::release);
    }

    @Test
    void extensionsCount() throws Exception {
        try (Hold hold = locks.lock("k").lease(Duration.ofSeconds(5)).withoutRenewal().acquire(LONG)) {
            hold.extend(Duration.ofMinutes(5));
            assertTrue(hold.remaining().compareTo(Duration.ofMinutes(4)) > 0);
            assertTrue(hold.check().remaining().compareTo(Duration.ofMinutes(4)) > 0);
        }
    }

    @Test
    void readersShareAndAWriterDoesNot() throws Exception {
        RedisReadWriteLock lock = locks.readWriteLock("k");
        try (Hold one = lock.read().acquire(LONG); Hold two = lock.read().acquire(LONG)) {
            assertNotEquals(one.owner(), two.owner());
            assertTrue(lock.write().tryAcquire().isEmpty());
        }
        try (Hold writer = lock.write().acquire(LONG)) {
            assertTrue(lock.read().tryAcquire().isEmpty());
            writer.downgrade();
            lock.read().tryAcquire().orElseThrow().release();
            assertTrue(writer.isHeld());
        }
        free("k");
    }

    @Test
    void aSemaphoreCountsUnits() throws Exception {
        RedisLock semaphore = locks.semaphore("k", 3);
        try (Hold two = semaphore.weight(2).acquire(LONG); Hold one = semaphore.acquire(LONG)) {
            assertTrue(semaphore.tryAcquire().isEmpty());
            assertEquals(2, info("k").holders().get(0).weight());
        }
        free("k");
    }

    @Test
    void severalLocksAreTakenInOneStep() throws Exception {
        taken("b");
        assertTrue(locks.multiLock("a", "b").tryAcquire().isEmpty());
        assertTrue(locks.info("a").isEmpty());
        given("b");
        try (Hold hold = locks.multiLock("a", "b").lease(Duration.ofSeconds(2)).acquire(LONG)) {
            assertEquals(List.of("a", "b"), List.copyOf(hold.fences().keySet()));
            Thread.sleep(2600);
            hold.check();
            assertTrue(hold.isHeld());
        }
        free("a");
        free("b");
    }

    @Test
    void deadlocksOfScopesAreFound() throws Exception {
        OwnerScope one = locks.owner();
        OwnerScope two = locks.owner();
        try (Hold a = one.lock("a").acquire(LONG); Hold b = two.lock("b").acquire(LONG)) {
            assertEquals(one.owner(), a.owner());
            CompletableFuture<Hold> wait = one.lock("b").acquireAsync();
            waiting("b", 1);
            DeadlockException found =
                    assertThrows(DeadlockException.class, () -> two.lock("a").acquire(LONG));
            assertEquals(2, found.cycle().size());
            assertTrue(two.owner().startsWith(found.cycle().get(0).owner()));
            assertEquals("a", found.cycle().get(0).lock());
            b.release();
            wait.get(60, TimeUnit.SECONDS).release();
        }
    }

    @Test
    void maxBoundsAHold() throws Exception {
        Hold hold = locks.lock("k").lease(Duration.ofMillis(1500)).max(Duration.ofMillis(2500)).acquire(LONG);
        LossReason reason = hold.lost().toCompletableFuture().get(60, TimeUnit.SECONDS);
        assertTrue(reason == LossReason.MAX || reason == LossReason.GONE, () -> "" + reason);
        free("k");
    }

    @Test
    void aJobRunsOncePerPeriod() throws Exception {
        AtomicReference<Integer> runs = new AtomicReference<>(0);
        RedisLock.Job<RuntimeException> job = hold -> runs.set(runs.get() + 1);
        assertTrue(locks.lock("k").runOncePer(LONG, job));
        assertFalse(locks.lock("k").runOncePer(LONG, job));
        assertEquals(1, runs.get());
        assertEquals("cooling", info("k").mode());
        operator("DEL", "k");
        assertThrows(IllegalStateException.class, () -> locks.lock("k").runOncePer(LONG, hold -> {
            throw new IllegalStateException("failed");
        }));
        assertTrue(locks.lock("k").runOncePer(LONG, job));
    }

    @Test
    void aLostHoldDelaysTheNextGrant() throws Exception {
        Hold hold = locks.lock("k").lease(Duration.ofMillis(100)).withoutRenewal().delay(LONG).acquire(LONG);
        hold.lost().toCompletableFuture().get(60, TimeUnit.SECONDS);
        until("it is cooling", () -> locks.info("k").map(LockInfo::mode).orElse("").equals("cooling"));
    }

    @Test
    void aSessionIsBoundToItsConnection() throws Exception {
        try (Hold hold = locks.lock("k").session().acquire(LONG)) {
            assertTrue(info("k").holders().get(0).session() > 0);
            assertTrue(hold.isHeld());
        }
        free("k");
        try (Hold hold = locks.lock("k").acquire(LONG)) {
            assertEquals(0, info("k").holders().get(0).session());
        }
    }

    @Test
    void aLeaderIsElectedObservedAndFollowed() throws Exception {
        LeaderElection election = locks.leaderElection("leader");
        List<Optional<String>> seen = new CopyOnWriteArrayList<>();
        try (AutoCloseable observer = election.observe(seen::add)) {
            until("nobody leads", () -> seen.equals(List.of(Optional.<String>empty())));
            Leadership first = election.elect();
            until("the first leads", () -> seen.contains(Optional.of(first.owner())));
            CompletableFuture<Leadership> candidate = election.electAsync();
            waiting("leader", 1);
            first.resign();
            Leadership second = candidate.get(60, TimeUnit.SECONDS);
            assertTrue(second.fence() > first.fence());
            assertEquals(Optional.of(second.owner()), election.leader());
            until("the second leads", () -> seen.get(seen.size() - 1).equals(Optional.of(second.owner())));
            second.close();
            until("nobody leads", () -> seen.get(seen.size() - 1).isEmpty());
        }
    }

    @Test
    void locksAreListed() throws Exception {
        List<Hold> holds = new ArrayList<>();
        for (int i = 0; i < 150; i++) {
            holds.add(locks.lock("list:" + i).acquire(LONG));
        }
        try (Hold other = locks.lock("other").acquire(LONG)) {
            assertEquals(151, locks.list(LockQuery.all()).map(entry -> entry.key()).distinct().count());
            assertEquals(150, locks.list(LockQuery.all().matching("list:*")).map(e -> e.key()).distinct().count());
            assertEquals(List.of("other"),
                    locks.list(LockQuery.all().ownedBy(other.owner())).map(e -> e.key()).toList());
            CompletableFuture<Hold> wait = locks.lock("other").acquireAsync();
            waiting("other", 1);
            assertEquals("other", locks.top(3).get(0).key());
            assertEquals(1, locks.top(3).get(0).queue().size());
            wait.cancel(false);
        }
        holds.forEach(Hold::release);
    }

    @Test
    void aKeyOfAnotherTypeIsRefused() {
        operator("SET", "k", "v");
        assertThrows(WrongTypeException.class, () -> locks.lock("k").acquire(LONG));
    }

    @Test
    void closingEndsHoldsAndWaits() throws Exception {
        Hold hold = locks.lock("k").acquire(LONG);
        CompletableFuture<Hold> wait = locks.lock("k").acquireAsync();
        waiting("k", 1);
        locks.close();
        assertFalse(hold.isHeld());
        assertEquals(LossReason.CLOSED, hold.lost().toCompletableFuture().get(60, TimeUnit.SECONDS));
        until("the wait ended", wait::isCompletedExceptionally);
        open();
        free("k");
        assertThrows(NotHeldException.class, hold::release);
    }
}
