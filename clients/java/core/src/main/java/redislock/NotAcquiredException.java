package redislock;

/** The lock was not acquired within the caller's time. */
public final class NotAcquiredException extends LockException {
    /**
     * Makes an exception.
     *
     * @param message which lock, and how long it was waited for
     */
    public NotAcquiredException(String message) {
        super(message);
    }
}
