package redislock.spi;

import java.util.Objects;

/**
 * The address of a server.
 *
 * @param host a name or an IP address
 * @param port from 0 to 65535
 */
public record Endpoint(String host, int port) {
    /**
     * Checks the port.
     *
     * @param host a name or an IP address
     * @param port from 0 to 65535
     */
    public Endpoint {
        Objects.requireNonNull(host, "host");
        if (port < 0 || port > 65535) {
            throw new IllegalArgumentException("the port must be from 0 to 65535, not " + port);
        }
    }

    @Override
    public String toString() {
        return host + ":" + port;
    }
}
