package redislock.tests;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static redislock.tests.Server.until;

import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.TimeUnit;

import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import redislock.Hold;
import redislock.LockClient;
import redislock.LockException;
import redislock.NotAcquiredException;

/** What must not happen, whatever becomes of connections and servers. */
class FaultsTest {
    private static final Duration LONG = Duration.ofMinutes(1);

    /** So long that a hold that is left behind is seen. */
    private static final Duration LEASE = Duration.ofMinutes(10);

    private Server server;
    private LockClient locks;

    @BeforeEach
    void start() {
        server = Server.start();
    }

    @AfterEach
    void stop() {
        if (locks != null) {
            locks.close();
        }
        server.close();
    }

    private void open(Library library) {
        locks = LockClient.builder(library.single(server.endpoint())).lease(LEASE).build();
    }

    private static void sleep(long millis) {
        try {
            Thread.sleep(millis);
        } catch (InterruptedException stop) {
            throw new IllegalStateException(stop);
        }
    }

    private void nothingIsLeft() {
        until("no lock and no waiter is left", () -> server.keys() == 0 && server.waiters() == 0);
    }

    @ParameterizedTest
    @EnumSource
    void aThousandCancellationsAtRandomMomentsLeaveNothing(Library library) {
        open(library);
        Random random = new Random(17);
        for (int round = 0; round < 10; round++) {
            List<CompletableFuture<Hold>> all = new ArrayList<>();
            for (int i = 0; i < 100; i++) {
                all.add(locks.lock("k" + i % 3).acquireAsync(LONG));
                if (random.nextInt(4) == 0) {
                    all.get(random.nextInt(all.size())).cancel(true);
                }
            }
            sleep(random.nextInt(20));
            for (CompletableFuture<Hold> each : all) {
                if (!each.cancel(true) && !each.isCompletedExceptionally()) {
                    each.join().releaseAsync();
                }
            }
        }
        nothingIsLeft();
        assertEquals(0, locks.holds());
    }

    @ParameterizedTest
    @EnumSource
    void cancellationsOfDelayedRequestsLeaveNothing(Library library) {
        try (Relay relay = new Relay(server.port())) {
            relay.delay("LOCK.ACQUIRE", 100, 300);
            locks = LockClient.builder(library.single(relay.endpoint())).lease(LEASE).build();
            List<CompletableFuture<Hold>> all = new ArrayList<>();
            for (int i = 0; i < 30; i++) {
                all.add(locks.lock("k").acquireAsync(LONG));
                sleep(ThreadLocalRandom.current().nextInt(30));
            }
            for (CompletableFuture<Hold> each : all) {
                if (!each.cancel(true) && !each.isCompletedExceptionally()) {
                    each.join().releaseAsync();
                }
                sleep(ThreadLocalRandom.current().nextInt(30));
            }
            nothingIsLeft();
        }
    }

    @ParameterizedTest
    @EnumSource
    void interruptsLeaveNothing(Library library) throws Exception {
        open(library);
        server.hold("k");
        List<Thread> threads = new ArrayList<>();
        for (int i = 0; i < 30; i++) {
            Thread thread = new Thread(() -> {
                try {
                    locks.lock("k").acquire(LONG).release();
                } catch (InterruptedException expected) {
                    // That is what the test does.
                }
            });
            thread.start();
            threads.add(thread);
        }
        sleep(100);
        server.release("k");
        threads.forEach(Thread::interrupt);
        for (Thread thread : threads) {
            thread.join();
        }
        nothingIsLeft();
    }

    @ParameterizedTest
    @EnumSource
    void aCancellationDoesNotWaitForAServerThatHangs(Library library) throws Exception {
        open(library);
        locks.lock("warm").acquire(LONG).release();
        server.signal("STOP");
        CompletableFuture<Hold> wait = locks.lock("k").acquireAsync();
        assertThrows(LockException.class, () -> locks.lock("k").acquire(Duration.ofMillis(100)));
        long began = System.nanoTime();
        wait.cancel(true);
        assertTrue(System.nanoTime() - began < TimeUnit.SECONDS.toNanos(5));
        sleep(3000);
        server.signal("CONT");
        nothingIsLeft();
    }

    @ParameterizedTest
    @EnumSource
    void aWaitOutlivesLostConnectionsAndARestart(Library library) throws Exception {
        try (Relay relay = new Relay(server.port())) {
            locks = LockClient.builder(library.single(relay.endpoint())).lease(LEASE).build();
            server.hold("k");
            CompletableFuture<Hold> wait = locks.lock("k").acquireAsync();
            until("it waits", () -> server.waiters() == 1);
            relay.closeAll();
            until("it waits again", () -> server.waiters() == 1);
            server.kill();
            sleep(300);
            server.run();
            // Nothing was saved, so the lock is free.
            Hold hold = wait.get(60, TimeUnit.SECONDS);
            assertTrue(hold.isHeld());
            hold.release();
            nothingIsLeft();
        }
    }

    @ParameterizedTest
    @EnumSource
    void aStallThatIsShorterThanTheLeaseLosesNothing(Library library) throws Exception {
        locks = LockClient.builder(library.single(server.endpoint())).lease(Duration.ofSeconds(9)).build();
        List<Hold> holds = new ArrayList<>();
        for (int i = 0; i < 500; i++) {
            holds.add(locks.lock("k" + i).acquire(LONG));
        }
        long opened = locks.connectionsOpened();
        server.signal("STOP");
        sleep(3500);
        server.signal("CONT");
        sleep(3500);
        for (Hold hold : holds) {
            assertTrue(hold.isHeld());
            hold.check();
        }
        assertTrue(locks.connectionsOpened() - opened <= 4, () -> locks.connectionsOpened() - opened + " opened");
        holds.forEach(Hold::release);
        nothingIsLeft();
    }

    @ParameterizedTest
    @EnumSource
    void longLeasesAndTimeOutsAreNoTrouble(Library library) throws Exception {
        open(library);
        try (Hold hold = locks.lock("k").lease(Duration.ofDays(365)).acquire(Duration.ofDays(400))) {
            CompletableFuture<Hold> days = locks.lock("k").acquireAsync(Duration.ofDays(400));
            CompletableFuture<Hold> ages = locks.lock("k").acquireAsync(Duration.ofSeconds(Long.MAX_VALUE));
            until("they wait", () -> server.waiters() == 2);
            sleep(300);
            assertTrue(hold.isHeld());
            assertFalse(days.isDone() || ages.isDone());
            days.cancel(true);
            ages.cancel(true);
        }
        nothingIsLeft();
    }

    @ParameterizedTest
    @EnumSource
    void uncontendedLocksShareConnections(Library library) throws Exception {
        open(library);
        for (int i = 0; i < 500; i++) {
            locks.lock("k").acquire(LONG).release();
        }
        assertTrue(locks.connectionsOpened() <= 3, () -> locks.connectionsOpened() + " opened");
    }

    @ParameterizedTest
    @EnumSource
    void waitsOfAProcessCanStandBehindOne(Library library) throws Exception {
        locks = LockClient.builder(library.single(server.endpoint())).shareWaits(true).lease(LEASE).build();
        server.hold("k");
        List<CompletableFuture<Hold>> waits = new ArrayList<>();
        for (int i = 0; i < 20; i++) {
            waits.add(locks.lock("k").acquireAsync(LONG));
        }
        until("one waits", () -> server.waiters() == 1);
        assertThrows(NotAcquiredException.class, () -> locks.lock("k").acquire(Duration.ofMillis(50)));
        assertEquals(1, server.waiters());
        waits.get(7).cancel(true);
        server.release("k");
        for (int i = 0; i < 20; i++) {
            if (i != 7) {
                waits.get(i).get(60, TimeUnit.SECONDS).release();
            }
        }
        nothingIsLeft();
    }

    @ParameterizedTest
    @EnumSource
    void theNumberOfWaitsIsBounded(Library library) throws Exception {
        locks = LockClient.builder(library.single(server.endpoint())).maxWaits(3).lease(LEASE).build();
        server.hold("k");
        List<CompletableFuture<Void>> waits = new ArrayList<>();
        for (int i = 0; i < 10; i++) {
            waits.add(locks.lock("k").acquireAsync(LONG).thenCompose(Hold::releaseAsync));
        }
        until("three wait", () -> server.waiters() == 3);
        try (Hold other = locks.lock("other").acquire(LONG)) {
            assertTrue(other.isHeld());
        }
        server.release("k");
        for (CompletableFuture<Void> wait : waits) {
            wait.get(60, TimeUnit.SECONDS);
        }
        nothingIsLeft();
    }
}
