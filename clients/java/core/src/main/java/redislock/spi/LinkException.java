package redislock.spi;

/** A connection failed or could not be made. The client library's exception is the cause. */
public final class LinkException extends RuntimeException {
    /**
     * Makes an exception.
     *
     * @param message which connection, and what happened to it
     * @param cause what the client library threw, or null
     */
    public LinkException(String message, Throwable cause) {
        super(message, cause);
    }
}
