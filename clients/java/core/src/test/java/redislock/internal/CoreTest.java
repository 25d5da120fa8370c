package redislock.internal;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.atomic.AtomicLong;

import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import redislock.DeadlockException;
import redislock.LossReason;
import redislock.ServerException;
import redislock.TooManyException;
import redislock.spi.ReplyError;

/** The parts of the core, without servers and without threads. */
class CoreTest {
    private static final long SECOND = 1_000_000_000L;

    private final AtomicLong nanos = new AtomicLong(5 * SECOND);
    private final AtomicLong sinceStart = new AtomicLong(99 * SECOND);
    private final LeaseClock clock = new LeaseClock(nanos::get, sinceStart::get, 60_000_000L);

    private void pass(long time) {
        nanos.addAndGet(time);
        sinceStart.addAndGet(time);
    }

    private static Request request(long leaseMs, long maxMs) {
        return new Request(List.of("k"), "me", leaseMs, Request.Mode.EXCLUSIVE, 0, 1, false, maxMs, 0, false);
    }

    private static String text(List<byte[]> words) {
        List<String> all = new ArrayList<>();
        words.forEach(word -> all.add(new String(word, StandardCharsets.UTF_8)));
        return String.join(" ", all);
    }

    @Test
    void commands() {
        assertEquals("LOCK.ACQUIRE k me PX 1000", text(request(1000, 0).acquire(-1)));
        assertEquals("LOCK.ACQUIRE k me PX 1000 BLOCK 0 MAX 9", text(request(1000, 9).acquire(0)));
        Request counted = new Request(
                List.of("k"), "me", 7, Request.Mode.COUNTED, 5, 2, true, 0, 0, false);
        assertEquals("LOCK.ACQUIRE k me PX 7 BLOCK 3 SHARED LIMIT 5 WEIGHT 2 SESSION", text(counted.acquire(3)));
        Request several = new Request(
                List.of("a", "b"), "me", 7, Request.Mode.SHARED, 0, 1, false, 0, 0, true);
        assertEquals("LOCK.MACQUIRE 2 a b me PX 7 SHARED", text(several.acquire(-1)));
        assertEquals("LOCK.MRELEASE 2 a b me", text(several.releaseHold(9, 0)));
        assertEquals("LOCK.MEXTEND 2 a b me PX 8", text(several.extend(9, 8)));
        assertEquals("LOCK.RELEASE k me FENCE 9 COOL 5", text(request(7, 0).releaseHold(9, 5)));
        assertEquals("LOCK.RELEASE k me FENCE 9 DOWNGRADE", text(request(7, 0).downgrade(9)));
        assertEquals("LOCK.ACQUIRE k me PX 7 BLOCK " + Request.MAX_BLOCK_MS,
                text(request(7, 0).acquire(Long.MAX_VALUE)));
    }

    @Test
    void slots() {
        assertEquals(12739, Slots.of("123456789"));
        assertEquals(Slots.of("{user1000}.following"), Slots.of("{user1000}.followers"));
        assertEquals(Slots.of("foo{}{bar}"), Slots.of("foo{}{bar}"));
    }

    @Test
    void errorsAreSorted() {
        assertTrue(Faults.passes(new ReplyError("TRYAGAIN not now")));
        assertFalse(Faults.passes(new ReplyError("ERR TRYAGAIN")));
        Faults.Redirection moved = Faults.redirection(new ReplyError("MOVED 3999 ::1:6381"));
        assertEquals("::1", moved.endpoint().host());
        assertEquals(6381, moved.endpoint().port());
        assertNull(Faults.redirection(new ReplyError("MOVED nonsense")));
        assertTrue(ServerException.of("ERR 9 clients wait for this lock (redislock.max-waiters)")
                instanceof TooManyException);
        DeadlockException deadlock = (DeadlockException) ServerException.of(
                "DEADLOCK waiting would close a cycle: 'a'... waits for 'b' (lock 'x'), 'b' waits for 'a'... (lock 'y')");
        assertEquals(List.of(new DeadlockException.Step("a", "b", "x"), new DeadlockException.Step("b", "a", "y")),
                deadlock.cycle());
    }

    @Test
    void pausesGrowAndAreRandom() {
        Backoff least = new Backoff(20, 100, (low, high) -> low);
        Backoff most = new Backoff(20, 100, (low, high) -> high);
        assertEquals(List.of(5L, 10L, 20L, 25L), List.of(least.pause(), least.pause(), least.pause(), least.pause()));
        assertEquals(List.of(20L, 40L, 80L, 100L), List.of(most.pause(), most.pause(), most.pause(), most.pause()));
    }

    @Test
    void aSleepOfTheMachineCounts() {
        long before = clock.now();
        pass(SECOND);
        assertEquals(SECOND, clock.now() - before);
        // nanoTime stands still while the machine sleeps.
        sinceStart.addAndGet(61 * SECOND);
        assertEquals(62 * SECOND, clock.now() - before);
        pass(SECOND);
        assertEquals(63 * SECOND, clock.now() - before);
        // The other clock is less exact.
        sinceStart.addAndGet(10_000_000L);
        assertEquals(63 * SECOND, clock.now() - before);
    }

    @Test
    void theTimeSinceTheStartOfTheMachineIsRead(@TempDir Path directory) throws Exception {
        Path file = directory.resolve("uptime");
        Files.writeString(file, "1000.00 3.00\n");
        LeaseClock machine = LeaseClock.of(file);
        long before = machine.now();
        Files.writeString(file, "1061.50 3.00\n");
        assertTrue(machine.now() - before >= 61 * SECOND);
        LeaseClock real = LeaseClock.system();
        long first = real.now();
        assertTrue(real.now() >= first);
    }

    @Test
    void aHoldEndsByTheClock() {
        HoldState hold = new HoldState(request(10_000, 0), new long[] {7}, clock, clock.now(), true, 0);
        assertTrue(hold.isHeld());
        pass(9 * SECOND);
        hold.extended(clock.now(), 10_000);
        pass(9 * SECOND);
        assertTrue(hold.isHeld());
        sinceStart.addAndGet(2 * SECOND);
        assertFalse(hold.isHeld());
        assertEquals(LossReason.EXPIRED, hold.error().reason());
        assertTrue(hold.lose(LossReason.GONE));
        assertFalse(hold.finish());
        assertEquals(LossReason.GONE, hold.error().reason());
    }

    @Test
    void aHoldIsBoundedByItsMax() {
        HoldState hold = new HoldState(request(10_000, 15_000), new long[] {7}, clock, clock.now(), true, 0);
        pass(9 * SECOND);
        hold.extended(clock.now(), 10_000);
        assertEquals(6 * SECOND, hold.remaining());
        assertEquals(LossReason.MAX, hold.whyExpired());
    }

    @Test
    void whatTheServerSaidBeforeAnExtensionIsOld() {
        HoldState hold = new HoldState(request(10_000, 0), new long[] {7}, clock, clock.now(), true, 0);
        long version = hold.version();
        hold.extended(clock.now(), 20_000);
        assertTrue(hold.learn(List.of(List.of(7L, 5000L)), clock.now(), version));
        assertEquals(20 * SECOND, hold.remaining());
        assertTrue(hold.learn(List.of(List.of(7L, 5000L)), clock.now(), hold.version()));
        assertEquals(5 * SECOND, hold.remaining());
        assertFalse(hold.learn(List.of(List.of(8L, 5000L)), clock.now(), hold.version()));
        List<Object> nothing = new ArrayList<>();
        nothing.add(null);
        assertFalse(hold.learn(nothing, clock.now(), hold.version()));
    }

    @Test
    void durationsAreChecked() {
        assertEquals(1, Durations.lease(Duration.ofNanos(1)));
        assertEquals(1001, Durations.lease(Duration.ofNanos(1_000_000_001)));
        assertThrows(IllegalArgumentException.class, () -> Durations.lease(Duration.ZERO));
        assertThrows(IllegalArgumentException.class, () -> Durations.lease(Duration.ofDays(366)));
        assertThrows(IllegalArgumentException.class, () -> Durations.timeout(Duration.ofMillis(-1)));
        assertTrue(Durations.timeout(Duration.ofSeconds(Long.MAX_VALUE)) < 0);
        assertEquals(0, Durations.timeout(Duration.ZERO));
    }

    @Test
    void gatesLetThoseInWhoCameFirst() {
        Gates<String> gates = new Gates<>(1);
        List<Integer> entered = new ArrayList<>();
        Gates<String>.Place one = gates.enter("k", () -> entered.add(1));
        Gates<String>.Place two = gates.enter("k", () -> entered.add(2));
        Gates<String>.Place three = gates.enter("k", () -> entered.add(3));
        Gates<String>.Place other = gates.enter("l", () -> entered.add(9));
        assertEquals(List.of(1, 9), entered);
        two.leave();
        one.leave();
        one.leave();
        assertEquals(List.of(1, 9, 3), entered);
        three.leave();
        gates.enter("k", () -> entered.add(4));
        assertEquals(List.of(1, 9, 3, 4), entered);
        other.leave();
    }
}
