package redislock;

/** The hold has ended. Others may have held the lock since. */
public final class NotHeldException extends LockException {
    /** Why the hold ended. */
    private final LossReason reason;

    /**
     * Makes an exception.
     *
     * @param message which lock, and how it ended
     * @param reason why it ended
     */
    public NotHeldException(String message, LossReason reason) {
        super(message);
        this.reason = reason;
    }

    /**
     * Why the hold ended.
     *
     * @return what this process saw
     */
    public LossReason reason() {
        return reason;
    }
}
