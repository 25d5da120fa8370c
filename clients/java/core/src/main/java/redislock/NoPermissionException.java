package redislock;

/** The user may not run this command, or not on this key, or could not log in. */
public final class NoPermissionException extends ServerException {
    /**
     * Makes an exception.
     *
     * @param message the server's text
     */
    public NoPermissionException(String message) {
        super(message);
    }
}
