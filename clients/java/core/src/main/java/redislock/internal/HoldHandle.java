package redislock.internal;

import java.time.Duration;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionStage;
import java.util.concurrent.atomic.AtomicBoolean;

import redislock.Check;
import redislock.LossReason;

/** What the public hold does, with the checks of its arguments. */
public final class HoldHandle {
    private final Engine engine;
    private final HoldState state;
    private final AtomicBoolean released = new AtomicBoolean();

    /** Wraps a hold of this engine. */
    public HoldHandle(Engine engine, HoldState state) {
        this.engine = engine;
        this.state = state;
    }

    /** The keys. */
    public List<String> keys() {
        return state.request.keys();
    }

    /** The owner. */
    public String owner() {
        return state.request.owner();
    }

    /** The largest fence. */
    public long fence() {
        return state.fence;
    }

    /** The fences, by key. */
    public long[] fences() {
        return state.fences;
    }

    /** Whether it is surely held. */
    public boolean isHeld() {
        return state.isHeld();
    }

    /** Whether the caller has released it. */
    public boolean isReleased() {
        return released.get();
    }

    /** Throws NotHeldException if it is not surely held. */
    public void requireHeld() {
        state.requireHeld();
    }

    /** What is left of the lease. */
    public Duration remaining() {
        return state.isHeld() ? Duration.ofNanos(Math.max(0, state.remaining())) : Duration.ZERO;
    }

    /** The signal of the loss. */
    public CompletionStage<LossReason> lost() {
        return state.lost.minimalCompletionStage();
    }

    /** See Hold. */
    public void extend(Duration lease) {
        Waits.uninterruptibly(engine.extend(state, Durations.lease(lease)));
    }

    /** See Hold. */
    public Check check() {
        Check check = Waits.uninterruptibly(engine.check(state));
        if (check == null) {
            throw state.error();
        }
        return check;
    }

    /** See Hold. */
    public void downgrade() {
        if (state.request.multi()) {
            throw new IllegalStateException("a hold of several keys cannot be downgraded");
        }
        Waits.uninterruptibly(engine.downgrade(state));
    }

    /** See Hold. */
    public void release(Duration cooling) {
        Waits.uninterruptibly(releasing(cooling));
    }

    /** See Hold. */
    public CompletionStage<Void> releaseAsync() {
        return releasing(Duration.ZERO).minimalCompletionStage();
    }

    private CompletableFuture<Void> releasing(Duration cooling) {
        long coolMs = cooling.isZero() ? 0 : Durations.cooling(cooling);
        if (coolMs > 0 && (state.request.multi() || state.request.mode() != Request.Mode.EXCLUSIVE)) {
            throw new IllegalStateException("only an exclusive hold of one key can be released with a time of cooling");
        }
        if (released.getAndSet(true)) {
            return CompletableFuture.failedFuture(state.error());
        }
        // Its words tell of the loss, if there was one.
        boolean lostBefore = !state.isOpen();
        var loss = lostBefore ? state.error() : null;
        return engine.release(state, coolMs).thenAccept(held -> {
            if (lostBefore) {
                throw loss;
            }
            if (Boolean.FALSE.equals(held)) {
                throw new redislock.NotHeldException(
                        state.request.name() + " had been lost before it was released", LossReason.GONE);
            }
        });
    }
}
