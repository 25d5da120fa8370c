package redislock.spi;

import java.util.concurrent.CompletableFuture;

/** Opens connections by means of a Redis client library. */
public interface Connector {
    /**
     * Which servers there are.
     *
     * @return the deployment, always the same
     */
    Deployment deployment();

    /**
     * Opens a connection, logged in and with the database selected. The call does not block.
     *
     * @param request where to, and what for
     * @return the open link, or a {@link LinkException}. If the server refused the login, its {@link ReplyError} is in
     *     the exception's cause or in its message.
     */
    CompletableFuture<Link> connect(LinkRequest request);

    /**
     * The address under which this process reaches a server that a Sentinel or a cluster node named.
     *
     * @param named the address that was named
     * @return the address to connect to
     */
    default Endpoint translate(Endpoint named) {
        return named;
    }

    /**
     * The name and version of the Redis client library.
     *
     * @return for example {@code lettuce 6.8.1}
     */
    String library();

    /** Frees what the connector itself holds, such as threads. All links are closed before. */
    void close();
}
