package redislock.spring.integration;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotSame;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.time.Duration;
import java.util.ConcurrentModificationException;
import java.util.concurrent.Callable;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.locks.Lock;

import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.springframework.integration.support.locks.LockRegistry;
import redislock.LockClient;
import redislock.testing.FakeLockServer;

/** What Spring Integration expects of its lock registries. */
class LockClientRegistryTest {
    private final FakeLockServer server = new FakeLockServer();
    private final LockClient client = LockClient.builder(server.connector()).build();
    private final LockClient otherClient = LockClient.builder(server.connector()).build();
    private final LockClientRegistry registry = new LockClientRegistry(client, "app");
    private final LockClientRegistry otherProcess = new LockClientRegistry(otherClient, "app");
    private final ExecutorService threads = Executors.newCachedThreadPool();

    @AfterEach
    void stop() {
        threads.shutdownNow();
        client.close();
        otherClient.close();
    }

    private <T> T elsewhere(Callable<T> task) throws Exception {
        try {
            return threads.submit(task).get(60, TimeUnit.SECONDS);
        } catch (ExecutionException failed) {
            throw (Exception) failed.getCause();
        }
    }

    private long held(String key) {
        return (Long) server.execute("EXISTS", "app:" + key);
    }

    @Test
    void lockAndUnlock() throws Exception {
        for (int i = 0; i < 10; i++) {
            Lock lock = registry.obtain("foo");
            lock.lock();
            assertEquals(1, held("foo"));
            lock.unlock();
            assertEquals(0, held("foo"));
            lock.lockInterruptibly();
            lock.unlock();
            assertTrue(lock.tryLock());
            lock.unlock();
            assertTrue(lock.tryLock(1, TimeUnit.SECONDS));
            lock.unlock();
        }
        assertEquals(0, held("foo"));
    }

    @Test
    void oneKeyHasOneLockAndItIsReentrant() throws Exception {
        Lock lock = registry.obtain("foo");
        lock.lock();
        Lock same = registry.obtain("foo");
        assertSame(lock, same);
        same.lockInterruptibly();
        assertTrue(same.tryLock());
        same.unlock();
        same.unlock();
        assertEquals(1, held("foo"));
        lock.unlock();
        assertEquals(0, held("foo"));
    }

    @Test
    void twoKeysAreTwoLocks() {
        Lock one = registry.obtain("foo");
        Lock two = registry.obtain("bar");
        assertNotSame(one, two);
        one.lock();
        two.lock();
        two.unlock();
        one.unlock();
    }

    @Test
    void anotherThreadIsRefused() throws Exception {
        Lock lock = registry.obtain("foo");
        lock.lock();
        assertFalse(elsewhere(() -> registry.obtain("foo").tryLock(50, TimeUnit.MILLISECONDS)));
        assertFalse(elsewhere(() -> otherProcess.obtain("foo").tryLock(50, TimeUnit.MILLISECONDS)));
        assertFalse(elsewhere(() -> otherProcess.obtain("foo").tryLock()));
        lock.unlock();
        assertTrue(elsewhere(() -> {
            Lock other = otherProcess.obtain("foo");
            boolean got = other.tryLock();
            other.unlock();
            return got;
        }));
    }

    @Test
    void threadsAndProcessesExcludeEachOther() throws Exception {
        AtomicInteger inside = new AtomicInteger();
        AtomicInteger done = new AtomicInteger();
        AtomicBoolean broken = new AtomicBoolean();
        Future<?>[] all = new Future<?>[8];
        for (int i = 0; i < all.length; i++) {
            LockRegistry mine = i % 2 == 0 ? registry : otherProcess;
            all[i] = threads.submit(() -> {
                for (int n = 0; n < 20; n++) {
                    Lock lock = mine.obtain("foo");
                    lock.lock();
                    if (inside.incrementAndGet() != 1) {
                        broken.set(true);
                    }
                    inside.decrementAndGet();
                    done.incrementAndGet();
                    lock.unlock();
                }
            });
        }
        for (Future<?> each : all) {
            each.get(60, TimeUnit.SECONDS);
        }
        assertEquals(160, done.get());
        assertFalse(broken.get());
    }

    @Test
    void aWaitingThreadGetsTheLockThatAnotherProcessReleases() throws Exception {
        Lock lock = registry.obtain("foo");
        lock.lock();
        CountDownLatch got = new CountDownLatch(1);
        Future<?> other = threads.submit(() -> {
            Lock theirs = otherProcess.obtain("foo");
            theirs.lock();
            got.countDown();
            theirs.unlock();
        });
        assertFalse(got.await(100, TimeUnit.MILLISECONDS));
        lock.unlock();
        other.get(60, TimeUnit.SECONDS);
    }

    @Test
    void onlyTheThreadThatLockedUnlocks() throws Exception {
        Lock lock = registry.obtain("foo");
        lock.lock();
        assertThrows(IllegalMonitorStateException.class, () -> elsewhere(() -> {
            lock.unlock();
            return null;
        }));
        assertThrows(IllegalMonitorStateException.class, () -> registry.obtain("bar").unlock());
        lock.unlock();
    }

    @Test
    void anInterruptEndsTheWaitAndLeavesNothing() throws Exception {
        Lock lock = registry.obtain("foo");
        lock.lock();
        CountDownLatch interrupted = new CountDownLatch(1);
        Thread thread = new Thread(() -> {
            try {
                otherProcess.obtain("foo").lockInterruptibly();
            } catch (InterruptedException expected) {
                interrupted.countDown();
            }
        });
        thread.start();
        while (client.info("app:foo").orElseThrow().waiters() == 0) {
            Thread.sleep(5);
        }
        thread.interrupt();
        assertTrue(interrupted.await(60, TimeUnit.SECONDS));
        lock.unlock();
        assertTrue(elsewhere(() -> {
            Lock theirs = otherProcess.obtain("foo");
            boolean got = theirs.tryLock(10, TimeUnit.SECONDS);
            theirs.unlock();
            return got;
        }));
    }

    @Test
    void aLossIsToldByUnlock() {
        Lock lock = registry.obtain("foo");
        lock.lock();
        server.execute("DEL", "app:foo");
        assertThrows(ConcurrentModificationException.class, lock::unlock);
        // It can be used again.
        lock.lock();
        lock.unlock();
    }

    @Test
    void aLockIsRenewedByItselfAndByHand() throws Exception {
        LockClientRegistry brief = new LockClientRegistry(client, "app", Duration.ofSeconds(2));
        Lock lock = brief.obtain("foo");
        lock.lock();
        Thread.sleep(2600);
        assertEquals(1, held("foo"));
        brief.renewLock("foo", Duration.ofMinutes(5));
        assertTrue(client.info("app:foo").orElseThrow().holders().get(0).remaining().toMinutes() >= 4);
        brief.renewLock("foo");
        assertThrows(IllegalStateException.class, () -> elsewhere(() -> {
            brief.renewLock("foo");
            return null;
        }));
        lock.unlock();
        assertThrows(IllegalStateException.class, () -> brief.renewLock("foo"));
        assertThrows(IllegalStateException.class, () -> brief.renewLock("never obtained"));
    }

    @Test
    void unusedLocksAreForgotten() throws Exception {
        Lock used = registry.obtain("used");
        used.lock();
        Lock unused = registry.obtain("unused");
        Thread.sleep(20);
        registry.expireUnusedOlderThan(60_000);
        assertEquals(2, registry.size());
        registry.expireUnusedOlderThan(0);
        assertSame(used, registry.obtain("used"));
        assertNotSame(unused, registry.obtain("unused"));
        used.unlock();
    }

    @Test
    void theCapacityIsKept() {
        registry.setCacheCapacity(3);
        Lock held = registry.obtain("held");
        held.lock();
        for (int i = 0; i < 10; i++) {
            registry.obtain("k" + i);
        }
        assertEquals(3, registry.size());
        assertSame(held, registry.obtain("held"));
        held.unlock();
    }

    @Test
    void keysAreStrings() {
        assertThrows(NullPointerException.class, () -> registry.obtain(null));
        assertThrows(IllegalArgumentException.class, () -> registry.obtain(5));
    }

    @Test
    void tasksRunUnderALock() throws Throwable {
        LockRegistry plain = registry;
        AtomicBoolean ran = new AtomicBoolean();
        plain.executeLocked("foo", () -> ran.set(held("foo") == 1));
        assertTrue(ran.get());
        assertEquals(0, held("foo"));
    }
}
