package redislock.spring.boot;

import redislock.spi.Endpoint;

/** Addresses as Spring writes them. */
final class Nodes {
    private Nodes() {}

    /** Parses host:port; an IPv6 address may stand in brackets. */
    static Endpoint parse(String text) {
        int colon = text.lastIndexOf(':');
        try {
            String host = text.substring(0, colon).trim();
            if (host.startsWith("[") && host.endsWith("]")) {
                host = host.substring(1, host.length() - 1);
            }
            return new Endpoint(host, Integer.parseInt(text.substring(colon + 1).trim()));
        } catch (IllegalArgumentException | IndexOutOfBoundsException malformed) {
            throw new IllegalArgumentException("a node must be written as host:port, not as '" + text + "'", malformed);
        }
    }
}
