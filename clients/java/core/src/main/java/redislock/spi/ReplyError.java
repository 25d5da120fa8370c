package redislock.spi;

/**
 * An error that the server sent.
 *
 * @param text the whole text, for example {@code WRONGTYPE Operation against a key ...}
 */
public record ReplyError(String text) {
    /**
     * The first word of the text.
     *
     * @return for example {@code WRONGTYPE}
     */
    public String code() {
        int end = text.indexOf(' ');
        return end < 0 ? text : text.substring(0, end);
    }
}
