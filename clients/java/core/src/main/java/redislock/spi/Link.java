package redislock.spi;

import java.util.List;
import java.util.concurrent.CompletableFuture;

/**
 * One connection to a server. The server answers its commands in their order. A link never connects anew: once it is
 * closed, it stays closed.
 */
public interface Link {
    /**
     * Sends commands, one behind the other, without any other command between them. The call does not block.
     *
     * @param commands each is the name and the arguments of one command
     * @return the replies, in the order of the commands: {@code Long}, {@code byte[]}, {@link ReplyError}, {@code null},
     *     or a {@code List} of these; a map is a list of keys and values. If the connection fails before all replies
     *     are there, it fails with {@link LinkException}.
     */
    CompletableFuture<List<Object>> send(List<List<byte[]>> commands);

    /**
     * Tells whether commands can be sent.
     *
     * @return false as soon as the connection is known to be closed
     */
    boolean isOpen();

    /**
     * Closes the connection. What was sent and is not answered fails with {@link LinkException}.
     *
     * @param why the reason, for the message of that exception
     */
    void close(String why);

    /**
     * The id of the connection as CLIENT ID tells it, if this link can receive invalidation messages that are
     * redirected to it.
     *
     * @return the id, or 0 if it cannot
     */
    long trackingId();
}
