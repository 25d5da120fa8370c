package redislock;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import static redislock.Server.until;

import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

import redis.clients.jedis.Protocol;

import java.time.Duration;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.UUID;
import java.util.concurrent.Callable;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.FutureTask;
import java.util.concurrent.TimeUnit;
import java.util.stream.IntStream;

/** What each client's lock has to do. */
@Timeout(value = 120, threadMode = Timeout.ThreadMode.SEPARATE_THREAD)
abstract class LockContract {
    static final Duration LEASE = Duration.ofSeconds(10);

    /** Longer than any test. */
    static final Duration LONG_WAIT = Duration.ofMinutes(10);

    /** The usual read time-out of the clients under test. */
    static final Duration READ_TIMEOUT = Duration.ofSeconds(2);

    final Server server = new Server();
    final String key = "lock:" + UUID.randomUUID();

    /** A hold of either client. */
    interface Hold extends AutoCloseable {
        long fence();

        boolean isHeld();

        CompletableFuture<Void> lost();

        @Override
        void close();
    }

    abstract Hold acquire(String key, Duration lease, Duration wait) throws Exception;

    abstract Class<? extends Exception> notAcquired();

    abstract Class<? extends Exception> notHeld();

    /** A short command, sent as the application sends its own. */
    abstract void ping() throws Exception;

    @AfterEach
    void nobodyWaits() {
        until("nobody waits", () -> server.allWaiters() == 0);
        server.client().del(key, key + ":counter");
        server.close();
    }

    @Test
    void oneHoldsAtATime() throws Exception {
        int threads = 12, rounds = 20;
        String counter = key + ":counter";
        List<Long> fences = Collections.synchronizedList(new ArrayList<>());
        server.client().set(counter, "0");
        Callable<Void> work =
                () -> {
                    for (int i = 0; i < rounds; i++) {
                        try (Hold hold = acquire(key, LEASE, LONG_WAIT)) {
                            long read = Long.parseLong(server.client().get(counter));
                            fences.add(hold.fence());
                            server.client().set(counter, Long.toString(read + 1));
                        }
                    }
                    return null;
                };
        ExecutorService executor = Executors.newFixedThreadPool(threads);
        for (Future<Void> done : executor.invokeAll(Collections.nCopies(threads, work))) {
            done.get();
        }
        executor.shutdown();
        assertEquals(threads * rounds, Long.parseLong(server.client().get(counter)));
        assertEquals(
                fences.stream().sorted().distinct().toList(),
                fences,
                "fences rise from grant to grant");
    }

    @Test
    void waitersAreServedInTheirOrder() throws Exception {
        List<Integer> served = Collections.synchronizedList(new ArrayList<>());
        List<FutureTask<Void>> waiters = new ArrayList<>();
        try (Hold first = acquire(key, LEASE, Duration.ZERO)) {
            for (int i = 0; i < 5; i++) {
                int number = i;
                waiters.add(
                        start(
                                () -> {
                                    try (Hold hold = acquire(key, LEASE, LONG_WAIT)) {
                                        served.add(number);
                                    }
                                    return null;
                                }));
                until("waiter " + i + " stands in line", () -> server.waiters(key) == number + 1);
            }
        }
        for (FutureTask<Void> waiter : waiters) {
            waiter.get();
        }
        assertEquals(IntStream.range(0, 5).boxed().toList(), served);
    }

    @Test
    void withoutAWaitABusyLockIsRefusedAtOnce() throws Exception {
        try (Hold hold = acquire(key, LEASE, Duration.ZERO)) {
            assertThrows(notAcquired(), () -> acquire(key, LEASE, Duration.ZERO));
            assertThrows(
                    notAcquired(),
                    () -> acquire(key, LEASE, Duration.ofNanos(1)),
                    "this is not BLOCK 0");
        }
    }

    @Test
    void aWaitLongerThanTheReadTimeoutRunsOut() throws Exception {
        try (Hold hold = acquire(key, LEASE, Duration.ZERO)) {
            Duration wait = READ_TIMEOUT.plusSeconds(1);
            long began = System.nanoTime();
            assertThrows(notAcquired(), () -> acquire(key, LEASE, wait));
            assertTrue(System.nanoTime() - began >= wait.toNanos());
        }
    }

    @Test
    void onlyTheOwnerReleases() throws Exception {
        try (Hold hold = acquire(key, LEASE, Duration.ZERO)) {
            assertEquals(0, server.release(key, "stranger"));
            assertTrue(hold.isHeld() && server.isHeld(key));
        }
        assertFalse(server.isHeld(key));
    }

    @Test
    void aHoldOutlivesItsLeaseAndEndsWithClose() throws Exception {
        Duration lease = Duration.ofMillis(1500);
        Hold hold = acquire(key, lease, Duration.ZERO);
        until(
                "held for twice the lease",
                () -> {
                    assertTrue(server.isHeld(key));
                    return server.holder(key, "held") > 2 * lease.toMillis();
                });
        assertTrue(hold.isHeld());
        hold.close();
        assertFalse(hold.isHeld() || hold.lost().isDone(), "ended, but not lost");
        assertFalse(server.isHeld(key));
        hold.close();
    }

    @Test
    void aHoldAfterAWaitIsRenewedToo() throws Exception {
        Duration lease = Duration.ofMillis(1500);
        Hold first = acquire(key, LEASE, Duration.ZERO);
        FutureTask<Hold> second = start(() -> acquire(key, lease, LONG_WAIT));
        until("the second waits", () -> server.waiters(key) == 1);
        first.close();
        try (Hold hold = second.get()) {
            assertTrue(hold.fence() > first.fence());
            until(
                    "held for twice the lease",
                    () -> {
                        assertTrue(server.isHeld(key));
                        return server.holder(key, "held") > 2 * lease.toMillis();
                    });
            assertTrue(hold.isHeld());
        }
    }

    @Test
    void aLossByAnOperatorIsToldBeforeTheLeaseIsOver() throws Exception {
        Duration lease = Duration.ofSeconds(15);
        Hold hold = acquire(key, lease, Duration.ZERO);
        long granted = System.nanoTime();
        server.client().del(key);
        hold.lost().get(60, TimeUnit.SECONDS);
        assertTrue(System.nanoTime() - granted < lease.toNanos());
        assertFalse(hold.isHeld());
        assertThrows(notHeld(), hold::close);
    }

    @Test
    void aLeaseThatCouldNotBeRenewedIsTold() throws Exception {
        Hold hold = acquire(key, Duration.ofMillis(1500), Duration.ZERO);
        server.send(Protocol.Command.CLIENT, "PAUSE", "100000", "WRITE");
        try {
            hold.lost().get(60, TimeUnit.SECONDS);
            assertFalse(hold.isHeld());
            // The lease began a little later there, and the renewals are still to be carried out.
            until("over on the server too", () -> !server.isHeld(key));
        } finally {
            server.send(Protocol.Command.CLIENT, "UNPAUSE");
        }
        assertThrows(notHeld(), hold::close);
    }

    @Test
    void anInterruptWithdrawsTheWait() throws Exception {
        try (Hold hold = acquire(key, LEASE, Duration.ZERO)) {
            CompletableFuture<Thread> thread = new CompletableFuture<>();
            FutureTask<Exception> waiter =
                    start(
                            () -> {
                                thread.complete(Thread.currentThread());
                                return assertThrows(
                                        InterruptedException.class,
                                        () -> acquire(key, LEASE, LONG_WAIT));
                            });
            until("one waits", () -> server.waiters(key) == 1);
            thread.get().interrupt();
            waiter.get();
            until("the wait is withdrawn", () -> server.allWaiters() == 0);
            assertTrue(hold.isHeld() && server.isHeld(key));
        }
        assertFalse(server.isHeld(key));
    }

    @Test
    void anInterruptedThreadReleases() throws Exception {
        Hold hold = acquire(key, LEASE, Duration.ZERO);
        Thread.currentThread().interrupt();
        hold.close();
        assertTrue(Thread.interrupted(), "the flag stays");
        assertFalse(server.isHeld(key));
    }

    @Test
    void otherCommandsAreAnsweredWhileOneWaits() throws Exception {
        FutureTask<Void> waiter;
        try (Hold hold = acquire(key, LEASE, Duration.ZERO)) {
            waiter =
                    start(
                            () -> {
                                acquire(key, LEASE, LONG_WAIT).close();
                                return null;
                            });
            until("one waits", () -> server.waiters(key) == 1);
            ping();
            assertEquals(1, server.waiters(key));
        }
        waiter.get();
    }

    static <T> FutureTask<T> start(Callable<T> work) {
        FutureTask<T> task = new FutureTask<>(work);
        Thread thread = new Thread(task, "test");
        thread.setDaemon(true);
        thread.start();
        return task;
    }
}
