package redislock;

import java.time.Duration;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletionStage;

import redislock.internal.HoldHandle;

/**
 * A lock that this process holds. It is renewed in the background, unless that was turned off, until it is released or
 * lost. All methods may be called from any thread.
 */
public final class Hold implements AutoCloseable {
    private final HoldHandle handle;
    private final Runnable leave;
    private boolean left;

    Hold(HoldHandle handle) {
        this(handle, null);
    }

    /** A re-entrant hold: {@code leave} releases the lock only if this was the last one. */
    Hold(HoldHandle handle, Runnable leave) {
        this.handle = handle;
        this.leave = leave;
    }

    HoldHandle handle() {
        return handle;
    }

    /**
     * The lock's key.
     *
     * @return the key; the first one, if there are several
     */
    public String key() {
        return handle.keys().get(0);
    }

    /**
     * All keys of the hold.
     *
     * @return the keys in the order in which they were asked for
     */
    public List<String> keys() {
        return handle.keys();
    }

    /**
     * Who holds the lock, as LOCK.INFO shows it.
     *
     * @return {@code label/host/pid/random}
     */
    public String owner() {
        return handle.owner();
    }

    /**
     * The fencing token. It is larger than those of all earlier grants of the lock. Send it along with each write, so
     * that the resource can reject a smaller one than it has seen.
     *
     * @return the token; the largest one, if there are several keys
     */
    public long fence() {
        return handle.fence();
    }

    /**
     * The fencing token of each key.
     *
     * @return the tokens by key, in the order of {@link #keys}
     */
    public Map<String, Long> fences() {
        Map<String, Long> fences = new LinkedHashMap<>();
        for (int i = 0; i < keys().size(); i++) {
            fences.put(keys().get(i), handle.fences()[i]);
        }
        return fences;
    }

    /**
     * Tells whether the lock is surely held, as far as this process can know without asking. It looks at a clock that
     * goes on while the machine sleeps, and the answer is false in doubt.
     *
     * @return true if the lease lasts by this process's clock and no loss is known
     */
    public boolean isHeld() {
        return handle.isHeld();
    }

    /**
     * Throws an exception if {@link #isHeld} is false. Call it before each step that changes something.
     *
     * @throws NotHeldException if the hold has ended, or may have
     */
    public void requireHeld() {
        handle.requireHeld();
    }

    /**
     * How much of the lease is surely left.
     *
     * @return zero if the lock is not held
     */
    public Duration remaining() {
        return handle.remaining();
    }

    /**
     * Completes when the hold is lost: because a renewal was refused, the server told of the loss, or the lease is over
     * by this process's clock. It never completes if the hold is released first.
     *
     * @return a stage of its own for each call. Its dependents run on the client's executor.
     */
    public CompletionStage<LossReason> lost() {
        return handle.lost();
    }

    /**
     * Gives the hold a new lease that begins now. Renewal, if it is on, goes on with this length.
     *
     * @param lease from 1 ms to 365 days; it may be shorter than the current one
     * @throws NotHeldException if the hold has ended
     * @throws LockException if the server refuses it or cannot be reached
     */
    public void extend(Duration lease) {
        handle.extend(lease);
    }

    /**
     * Asks the server whether the lock is held, for how long, and how many wait for it. A job that could stop between
     * two pieces of work can so let others go first.
     *
     * @return what the server says
     * @throws NotHeldException if the server says that the hold has ended
     * @throws LockException if the server refuses it or cannot be reached
     */
    public Check check() {
        return handle.check();
    }

    /**
     * Turns an exclusive hold into a shared one with the same fence and lease. The lock is not free in between.
     *
     * @throws NotHeldException if the hold has ended
     * @throws LockException if the server refuses it or cannot be reached
     */
    public void downgrade() {
        handle.downgrade();
    }

    /**
     * Releases the lock. If no server answers in time, this goes on in the background until the lease is over.
     *
     * @throws NotHeldException if the hold had ended before, so that others may have held the lock meanwhile
     * @throws LockException if the server refuses it
     */
    public void release() {
        if (leave == null) {
            handle.release(Duration.ZERO);
            return;
        }
        synchronized (this) {
            if (left) {
                return;
            }
            leave.run();
            left = true;
        }
    }

    /**
     * Releases the lock, and nobody is granted it for some time afterwards. This is for jobs that must run once per
     * period. Only an exclusive hold of one key can do this.
     *
     * @param cooling from 1 ms to 365 days
     * @throws NotHeldException if the hold had ended before
     * @throws LockException if the server refuses it
     */
    public void release(Duration cooling) {
        if (leave != null) {
            throw new IllegalStateException("a re-entrant hold cannot be released with a time of cooling");
        }
        handle.release(cooling);
    }

    /**
     * Releases the lock without blocking. If no server answers in time, this goes on in the background until the lease
     * is over.
     *
     * @return completes when the server has answered, or fails as {@link #release()} does
     */
    public CompletionStage<Void> releaseAsync() {
        if (leave != null) {
            throw new IllegalStateException("a re-entrant hold belongs to a thread, and is released by release()");
        }
        return handle.releaseAsync();
    }

    /**
     * Releases the lock unless that was done before. It throws what {@link #release()} throws.
     *
     * @throws NotHeldException if the hold had ended before by a loss
     */
    @Override
    public void close() {
        if (leave != null || !handle.isReleased()) {
            release();
        }
    }

    @Override
    public String toString() {
        return "Hold[" + String.join(", ", keys()) + (isHeld() ? ", held" : ", ended") + ", fence=" + fence()
                + ", owner=" + owner() + "]";
    }
}
