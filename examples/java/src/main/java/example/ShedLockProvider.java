package example;

import java.time.Duration;
import java.util.Optional;

import net.javacrumbs.shedlock.core.AbstractSimpleLock;
import net.javacrumbs.shedlock.core.LockConfiguration;
import net.javacrumbs.shedlock.core.LockProvider;
import net.javacrumbs.shedlock.core.SimpleLock;
import redislock.Hold;
import redislock.LockClient;
import redislock.NotHeldException;

/** Lets ShedLock take its locks with redis-lock. */
public final class ShedLockProvider implements LockProvider {
    private final LockClient locks;
    private final String prefix;

    /** The prefix stands before the name of each lock. */
    public ShedLockProvider(LockClient locks, String prefix) {
        this.locks = locks;
        this.prefix = prefix;
    }

    @Override
    public Optional<SimpleLock> lock(LockConfiguration wanted) {
        try {
            return locks.lock(prefix + wanted.getName())
                    .lease(wanted.getLockAtMostFor())
                    .withoutRenewal()
                    .tryAcquire()
                    .map(hold -> new Held(wanted, hold));
        } catch (InterruptedException stop) {
            Thread.currentThread().interrupt();
            return Optional.empty();
        }
    }

    private static final class Held extends AbstractSimpleLock {
        private final Hold hold;
        private final long taken = System.nanoTime();

        Held(LockConfiguration configuration, Hold hold) {
            super(configuration);
            this.hold = hold;
        }

        @Override
        protected void doUnlock() {
            Duration rest = lockConfiguration.getLockAtLeastFor().minusNanos(System.nanoTime() - taken);
            try {
                if (rest.toMillis() > 0) {
                    hold.release(rest);
                } else {
                    hold.release();
                }
            } catch (NotHeldException late) {
                // It took longer than lockAtMostFor. ShedLock does not tell that either.
            }
        }

        @Override
        protected Optional<SimpleLock> doExtend(LockConfiguration longer) {
            try {
                hold.extend(longer.getLockAtMostFor());
                return Optional.of(new Held(longer, hold));
            } catch (NotHeldException late) {
                return Optional.empty();
            }
        }
    }
}
