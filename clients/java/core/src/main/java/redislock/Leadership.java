package redislock;

import java.util.concurrent.CompletionStage;

/** This process is the leader, until it resigns or the leadership is lost. */
public final class Leadership implements AutoCloseable {
    private final Hold hold;

    Leadership(Hold hold) {
        this.hold = hold;
    }

    /**
     * Tells whether this process is surely still the leader, by its own clock.
     *
     * @return false in doubt
     */
    public boolean isLeader() {
        return hold.isHeld();
    }

    /**
     * Completes when the leadership is lost, and never if it was resigned first.
     *
     * @return a stage of its own for each call
     */
    public CompletionStage<LossReason> lost() {
        return hold.lost();
    }

    /**
     * The fencing token of this leadership: larger than those of all leaders before.
     *
     * @return the token
     */
    public long fence() {
        return hold.fence();
    }

    /**
     * Who leads, as observers see it.
     *
     * @return {@code label/host/pid/random}
     */
    public String owner() {
        return hold.owner();
    }

    /**
     * The hold behind the leadership.
     *
     * @return the hold
     */
    public Hold hold() {
        return hold;
    }

    /**
     * Hands the leadership over to the candidate that has waited longest.
     *
     * @throws NotHeldException if it had been lost before
     */
    public void resign() {
        hold.release();
    }

    /** Resigns unless that was done before. */
    @Override
    public void close() {
        hold.close();
    }
}
