package redislock;

/** The client was closed before the call, or while it waited. */
public final class ClientClosedException extends LockException {
    /**
     * Makes an exception.
     *
     * @param message what was not done
     */
    public ClientClosedException(String message) {
        super(message);
    }
}
