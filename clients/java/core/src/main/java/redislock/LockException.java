package redislock;

/** What every exception of this package extends. All of them are unchecked. */
public class LockException extends RuntimeException {
    /**
     * Makes an exception.
     *
     * @param message what happened
     */
    public LockException(String message) {
        super(message);
    }
}
