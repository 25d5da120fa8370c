package redislock;

/** A limit of the server is reached: its waiters, its holders or its memory. */
public final class TooManyException extends ServerException {
    /**
     * Makes an exception.
     *
     * @param message the server's text
     */
    public TooManyException(String message) {
        super(message);
    }
}
