package redislock;

/** No server answered within the caller's time, and none said why. */
public final class UnreachableException extends LockException {
    /**
     * Makes an exception.
     *
     * @param message what was tried, and the last failure
     */
    public UnreachableException(String message) {
        super(message);
    }
}
