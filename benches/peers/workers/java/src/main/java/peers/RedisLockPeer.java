package peers;

import redis.clients.jedis.CommandArguments;
import redis.clients.jedis.Connection;
import redis.clients.jedis.DefaultJedisClientConfig;
import redis.clients.jedis.HostAndPort;
import redis.clients.jedis.commands.ProtocolCommand;
import redis.clients.jedis.util.SafeEncoder;

import java.io.IOException;
import java.util.List;
import java.util.UUID;

/** LOCK.* over Jedis. A wait keeps a connection busy, so each client has one. */
final class RedisLockPeer implements Peer {
    static final List<Entry> ENTRIES =
            List.of(
                    new Entry(
                            new About(
                                    "redis-lock",
                                    "defaults",
                                    "redis-lock",
                                    "the module of the server",
                                    "jedis " + Versions.of("redis.clients", "jedis"),
                                    "LOCK.ACQUIRE key owner PX lease BLOCK 0, LOCK.RELEASE key"
                                            + " owner; a new owner (UUID) for each acquisition, a"
                                            + " connection for each client, no read time-out",
                                    List.of("https://redis.github.io/jedis/")),
                            RedisLockPeer::new));

    private static final ProtocolCommand ACQUIRE = command("LOCK.ACQUIRE");
    private static final ProtocolCommand RELEASE = command("LOCK.RELEASE");

    private final Job job;

    private RedisLockPeer(Job job) {
        this.job = job;
    }

    @Override
    public Client client(String key) {
        // The read time-out must lie above BLOCK, and BLOCK 0 is without limit.
        Connection connection =
                new Connection(
                        new HostAndPort(job.host(), job.port()),
                        DefaultJedisClientConfig.builder().socketTimeoutMillis(0).build());
        return new Waiter(connection, key, job.leaseMs());
    }

    @Override
    public void close() {
        // The connections end with the process.
    }

    private static ProtocolCommand command(String name) {
        byte[] raw = SafeEncoder.encode(name);
        return () -> raw;
    }

    private static final class Waiter implements Client {
        private final Connection connection;
        private final String key;
        private final long leaseMs;
        private String owner;

        private Waiter(Connection connection, String key, long leaseMs) {
            this.connection = connection;
            this.key = key;
            this.leaseMs = leaseMs;
        }

        @Override
        public boolean acquire() {
            owner = UUID.randomUUID().toString();
            return connection.executeCommand(
                            new CommandArguments(ACQUIRE)
                                    .key(key)
                                    .add(owner)
                                    .add("PX")
                                    .add(leaseMs)
                                    .add("BLOCK")
                                    .add(0))
                    != null;
        }

        @Override
        public void release() {
            Object released =
                    connection.executeCommand(new CommandArguments(RELEASE).key(key).add(owner));
            if (!Long.valueOf(1).equals(released)) {
                throw new IllegalStateException("the hold had ended before its release");
            }
        }

        @Override
        public void giveUp(Thread waiting) {
            try {
                connection.forceDisconnect();
            } catch (IOException closed) {
                // All the better.
            }
        }
    }
}
