package redislock.spring.integration;

import java.time.Duration;
import java.util.ConcurrentModificationException;
import java.util.Optional;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.Condition;
import java.util.concurrent.locks.Lock;
import java.util.concurrent.locks.ReentrantLock;

import redislock.Hold;
import redislock.NotHeldException;
import redislock.RedisLock;

/** A lock of this process, and behind it the one of all processes. */
final class RegistryLock implements Lock {
    private final RedisLock lock;
    private final ReentrantLock local = new ReentrantLock(true);
    private volatile long touchedAt = System.nanoTime();

    /** Only the thread that has the local lock touches it. */
    private Hold hold;

    RegistryLock(RedisLock lock) {
        this.lock = lock;
    }

    void touch() {
        touchedAt = System.nanoTime();
    }

    long touchedAt() {
        return touchedAt;
    }

    boolean isUsed() {
        return local.isLocked() || local.hasQueuedThreads();
    }

    @Override
    public void lock() {
        local.lock();
        boolean interrupted = false;
        try {
            while (local.getHoldCount() == 1 && hold == null) {
                try {
                    hold = lock.acquire();
                } catch (InterruptedException again) {
                    interrupted = true;
                }
            }
        } finally {
            settle();
            if (interrupted) {
                Thread.currentThread().interrupt();
            }
        }
    }

    @Override
    public void lockInterruptibly() throws InterruptedException {
        local.lockInterruptibly();
        try {
            if (local.getHoldCount() == 1) {
                hold = lock.acquire();
            }
        } finally {
            settle();
        }
    }

    @Override
    public boolean tryLock() {
        boolean interrupted = Thread.interrupted();
        try {
            return local.tryLock() && acquire(Duration.ZERO);
        } catch (InterruptedException meanwhile) {
            interrupted = true;
            return false;
        } finally {
            if (interrupted) {
                Thread.currentThread().interrupt();
            }
        }
    }

    @Override
    public boolean tryLock(long time, TimeUnit unit) throws InterruptedException {
        long end = System.nanoTime() + unit.toNanos(time);
        if (!local.tryLock(time, unit)) {
            return false;
        }
        return acquire(Duration.ofNanos(Math.max(0, end - System.nanoTime())));
    }

    /** The local lock is taken. */
    private boolean acquire(Duration timeout) throws InterruptedException {
        try {
            if (local.getHoldCount() == 1) {
                Optional<Hold> granted = lock.tryAcquire(timeout);
                hold = granted.orElse(null);
            }
            return hold != null;
        } finally {
            settle();
        }
    }

    /** Gives the local lock back if there is no hold behind it. */
    private void settle() {
        touch();
        if (hold == null) {
            local.unlock();
        }
    }

    @Override
    public void unlock() {
        if (!local.isHeldByCurrentThread()) {
            throw new IllegalMonitorStateException("the current thread does not hold " + lock);
        }
        touch();
        try {
            if (local.getHoldCount() == 1) {
                Hold ended = hold;
                hold = null;
                ended.release();
            }
        } catch (NotHeldException lost) {
            ConcurrentModificationException told = new ConcurrentModificationException(
                    "the lock was lost while it was held, and others may have changed what it protects: "
                            + lost.getMessage());
            told.initCause(lost);
            throw told;
        } finally {
            local.unlock();
        }
    }

    void renew(Duration lease) {
        if (!local.isHeldByCurrentThread()) {
            throw new IllegalStateException("the current thread does not hold " + lock);
        }
        hold.extend(lease == null ? lock.lease() : lease);
    }

    @Override
    public Condition newCondition() {
        throw new UnsupportedOperationException("a distributed lock has no conditions");
    }

    @Override
    public String toString() {
        return lock.toString();
    }
}
