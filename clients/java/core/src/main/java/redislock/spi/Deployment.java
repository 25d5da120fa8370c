package redislock.spi;

import java.util.List;

/**
 * Which servers there are.
 *
 * @param kind how the primary of a key is found
 * @param endpoints the server; the Sentinels; or some nodes of the cluster
 * @param service the name by which the Sentinels know the servers, else null
 */
public record Deployment(Kind kind, List<Endpoint> endpoints, String service) {
    /** How the primary of a key is found. */
    public enum Kind {
        /** There is one server. */
        SINGLE,
        /** Sentinels know the primary. */
        SENTINEL,
        /** Each node of a Redis Cluster knows the primary of each slot. */
        CLUSTER
    }

    /**
     * Checks that there is at least one endpoint.
     *
     * @param kind how the primary of a key is found
     * @param endpoints at least one
     * @param service with Sentinel the name of the servers, else null
     */
    public Deployment {
        endpoints = List.copyOf(endpoints);
        if (endpoints.isEmpty()) {
            throw new IllegalArgumentException("at least one server must be named");
        }
        if ((kind == Kind.SENTINEL) != (service != null)) {
            throw new IllegalArgumentException("Sentinel, and only Sentinel, needs the name of the service");
        }
    }
}
