package redislock.spi;

import java.time.Duration;
import java.util.List;
import java.util.function.Consumer;

/**
 * What kind of connection the client wants.
 *
 * @param endpoint the server
 * @param purpose what it is for
 * @param clientName the name for CLIENT SETNAME
 * @param timeout how long connecting may take
 * @param onInvalidation is called with the keys of each invalidation message, or with null if all keys are meant. Only
 *     for {@link Purpose#MONITOR}. It does not block.
 * @param onClose is called once after the link closed, whoever closed it. It does not block.
 */
public record LinkRequest(
        Endpoint endpoint,
        Purpose purpose,
        String clientName,
        Duration timeout,
        Consumer<List<byte[]>> onInvalidation,
        Runnable onClose) {
    /** What a connection is for. */
    public enum Purpose {
        /** Short commands of many threads. */
        COMMANDS,
        /** One wait at a time. */
        WAIT,
        /** PING, and invalidation messages that are redirected here. */
        MONITOR,
        /** A Sentinel is asked. */
        SENTINEL
    }
}
