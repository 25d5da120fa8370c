package peers;

import com.fasterxml.jackson.annotation.JsonIgnoreProperties;
import com.fasterxml.jackson.databind.PropertyNamingStrategies;
import com.fasterxml.jackson.databind.annotation.JsonNaming;

/**
 * What to measure, as the orchestrator writes it.
 *
 * @param redis host:port
 * @param leaseMs the lease of every hold, in milliseconds
 * @param sectionUs how long a client holds the contended lock, in microseconds
 */
@JsonIgnoreProperties(ignoreUnknown = true) // Addresses of servers that no peer here uses.
@JsonNaming(PropertyNamingStrategies.SnakeCaseStrategy.class)
record Job(
        String peer,
        String row,
        String workload,
        int clients,
        long sectionUs,
        double seconds,
        double warmupSeconds,
        String redis,
        long leaseMs,
        String key) {

    Job {
        if (!workload.equals("contended") && !workload.equals("uncontended")) {
            throw new IllegalArgumentException("unknown workload: " + workload);
        }
        if (clients < 1) {
            throw new IllegalArgumentException("clients must be at least 1");
        }
    }

    boolean contended() {
        return workload.equals("contended");
    }

    /** The lock of one client: the one lock of all, or one of its own. */
    String key(int client) {
        return contended() ? key : key + ":" + client;
    }

    String host() {
        return redis.substring(0, redis.lastIndexOf(':'));
    }

    int port() {
        return Integer.parseInt(redis.substring(redis.lastIndexOf(':') + 1));
    }
}
