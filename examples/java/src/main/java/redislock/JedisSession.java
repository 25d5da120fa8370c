package redislock;

import redis.clients.jedis.CommandArguments;
import redis.clients.jedis.Connection;
import redis.clients.jedis.commands.ProtocolCommand;
import redis.clients.jedis.exceptions.JedisConnectionException;
import redis.clients.jedis.util.SafeEncoder;

import java.time.Duration;
import java.util.UUID;
import java.util.function.Supplier;

/**
 * A hold bound to a connection: if the process dies, the next in line has the lock at once. For one
 * thread.
 *
 * <p>The connection is its own and stays open. A pool would lend it to others, close it when idle,
 * and the lock would live and die with that.
 *
 * <pre>{@code
 * try (JedisSession leader = JedisSession.acquire(connections, "leader", lease, wait)) {
 *     while (leader.renew()) {
 *         leadForAThirdOfTheLease(leader.fence());
 *     }
 * }
 * }</pre>
 */
public final class JedisSession implements AutoCloseable {
    private static final Duration GRACE = Duration.ofSeconds(5);

    private final Connection connection;
    private final String key;
    private final String owner = UUID.randomUUID().toString();
    private final Duration lease;
    private final long fence;

    /** An interrupt is not noticed before the wait is over. */
    public static JedisSession acquire(
            Supplier<Connection> connections, String key, Duration lease, Duration wait)
            throws JedisLock.NotAcquiredException {
        return new JedisSession(connections.get(), key, lease, wait);
    }

    private JedisSession(Connection own, String key, Duration lease, Duration wait)
            throws JedisLock.NotAcquiredException {
        this.connection = own;
        this.key = key;
        this.lease = lease;
        CommandArguments request = about(Command.ACQUIRE).add("SESSION");
        // BLOCK 0 would wait for ever.
        request.add("BLOCK").add(Math.max(1, wait.toMillis()));
        int usual = own.getSoTimeout();
        Long granted = null;
        try {
            own.setSoTimeout(Math.toIntExact(wait.plus(GRACE).toMillis()));
            granted = (Long) own.executeCommand(request);
            own.setSoTimeout(usual);
        } finally {
            if (granted == null) {
                own.close();
            }
        }
        if (granted == null) {
            throw new JedisLock.NotAcquiredException(key);
        }
        this.fence = granted;
    }

    public long fence() {
        return fence;
    }

    /**
     * Renews the lease, which bounds the hold of a machine that vanished. False: lost, by the
     * connection or otherwise.
     */
    public boolean renew() {
        if (connection.isBroken()) {
            return false; // Jedis would connect anew, and the session was the old connection's.
        }
        try {
            return (Long) connection.executeCommand(about(Command.EXTEND)) == 1;
        } catch (JedisConnectionException gone) {
            return false;
        }
    }

    /** Ends the hold with its connection. */
    @Override
    public void close() {
        connection.close();
    }

    private CommandArguments about(Command command) {
        return new CommandArguments(command).key(key).add(owner).add("PX").add(lease.toMillis());
    }

    private enum Command implements ProtocolCommand {
        ACQUIRE,
        EXTEND;

        @Override
        public byte[] getRaw() {
            return SafeEncoder.encode("LOCK." + name());
        }
    }
}
