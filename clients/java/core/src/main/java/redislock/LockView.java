package redislock;

import java.time.Duration;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.Condition;
import java.util.concurrent.locks.Lock;

/** A lock as the JDK sees it. Each thread has a stack of holds, of one unless the lock is re-entrant. */
final class LockView implements Lock {
    private final RedisLock lock;
    private final boolean reentrant;
    private final Map<Thread, Deque<Hold>> holds = new ConcurrentHashMap<>();

    LockView(RedisLock lock, boolean reentrant) {
        this.lock = lock;
        this.reentrant = reentrant;
    }

    @Override
    public void lock() {
        boolean interrupted = false;
        try {
            while (true) {
                try {
                    lockInterruptibly();
                    return;
                } catch (InterruptedException again) {
                    interrupted = true;
                }
            }
        } finally {
            if (interrupted) {
                Thread.currentThread().interrupt();
            }
        }
    }

    @Override
    public void lockInterruptibly() throws InterruptedException {
        if (isTaken()) {
            throw new IllegalStateException("this thread holds " + lock + ", which is not re-entrant");
        }
        push(lock.acquire());
    }

    /** The JDK's method cannot be interrupted. One try takes a request at most. */
    @Override
    public boolean tryLock() {
        boolean interrupted = false;
        try {
            while (true) {
                try {
                    return tryLock(0, TimeUnit.SECONDS);
                } catch (InterruptedException again) {
                    interrupted = true;
                }
            }
        } finally {
            if (interrupted) {
                Thread.currentThread().interrupt();
            }
        }
    }

    @Override
    public boolean tryLock(long time, TimeUnit unit) throws InterruptedException {
        if (isTaken()) {
            return false;
        }
        Optional<Hold> hold = lock.tryAcquire(Duration.ofNanos(Math.max(0, unit.toNanos(time))));
        hold.ifPresent(this::push);
        return hold.isPresent();
    }

    @Override
    public void unlock() {
        Deque<Hold> mine = holds.get(Thread.currentThread());
        if (mine == null) {
            throw new IllegalMonitorStateException("this thread does not hold " + lock);
        }
        Hold hold = mine.pop();
        if (mine.isEmpty()) {
            holds.remove(Thread.currentThread());
        }
        hold.release();
    }

    @Override
    public Condition newCondition() {
        throw new UnsupportedOperationException("a distributed lock has no conditions");
    }

    private boolean isTaken() {
        return !reentrant && holds.containsKey(Thread.currentThread());
    }

    private void push(Hold hold) {
        holds.computeIfAbsent(Thread.currentThread(), unknown -> new ArrayDeque<>()).push(hold);
    }

    @Override
    public String toString() {
        return lock + " as a java.util.concurrent.locks.Lock";
    }
}
