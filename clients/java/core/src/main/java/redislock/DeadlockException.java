package redislock;

import java.util.List;
import java.util.regex.Pattern;

/**
 * Waiting would close a cycle of owners that wait for one another. The request did not enter the queue. Release all
 * that this owner holds, and start again.
 */
public final class DeadlockException extends ServerException {
    private static final Pattern STEP = Pattern.compile(
            "'([^']*)'(?:\\.{3})? waits for '([^']*)'(?:\\.{3})? \\(lock '([^']*)'(?:\\.{3})?\\)");

    /**
     * One step of the cycle. The server shows the first 32 bytes of each name.
     *
     * @param owner who waits
     * @param waitsFor the owner that it waits for
     * @param lock the key of the lock
     */
    public record Step(String owner, String waitsFor, String lock) {}

    /**
     * Makes an exception.
     *
     * @param message the server's text
     */
    public DeadlockException(String message) {
        super(message);
    }

    /**
     * The cycle, as far as the server told it.
     *
     * @return the steps in the server's order
     */
    public List<Step> cycle() {
        return STEP.matcher(getMessage())
                .results()
                .map(found -> new Step(found.group(1), found.group(2), found.group(3)))
                .toList();
    }
}
