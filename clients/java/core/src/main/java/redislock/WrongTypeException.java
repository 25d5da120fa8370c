package redislock;

/** The key holds a value that is not a lock. */
public final class WrongTypeException extends ServerException {
    /**
     * Makes an exception.
     *
     * @param message the server's text
     */
    public WrongTypeException(String message) {
        super(message);
    }
}
