package redislock;

import redislock.spi.ReplyError;

/** The server refused the command. The message is the server's text. */
public class ServerException extends LockException {
    /**
     * Makes an exception.
     *
     * @param message the server's text
     */
    public ServerException(String message) {
        super(message);
    }

    /**
     * The first word of the server's text.
     *
     * @return for example {@code READONLY}
     */
    public String code() {
        return new ReplyError(getMessage()).code();
    }

    /**
     * The exception for an error that the server sent.
     *
     * @param text the server's text
     * @return this class or the one that fits best
     */
    public static ServerException of(String text) {
        return switch (new ReplyError(text).code()) {
            case "DEADLOCK" -> new DeadlockException(text);
            case "WRONGTYPE" -> new WrongTypeException(text);
            case "NOPERM", "NOAUTH", "WRONGPASS" -> new NoPermissionException(text);
            case "OOM" -> new TooManyException(text);
            default -> text.contains("redislock.max-") ? new TooManyException(text) : new ServerException(text);
        };
    }
}
