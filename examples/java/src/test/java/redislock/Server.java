package redislock;

import static org.junit.jupiter.api.Assertions.fail;

import redis.clients.jedis.BuilderFactory;
import redis.clients.jedis.CommandArguments;
import redis.clients.jedis.CommandObject;
import redis.clients.jedis.DefaultJedisClientConfig;
import redis.clients.jedis.HostAndPort;
import redis.clients.jedis.Protocol;
import redis.clients.jedis.RedisClient;
import redis.clients.jedis.util.SafeEncoder;

import java.net.URI;
import java.time.Duration;
import java.util.List;
import java.util.function.BooleanSupplier;

/** The server under test, seen by an operator. */
final class Server implements AutoCloseable {
    private static final Duration DEADLINE = Duration.ofSeconds(60);

    private final RedisClient client =
            RedisClient.builder()
                    .hostAndPort(address())
                    .clientConfig(DefaultJedisClientConfig.builder().resp2().build())
                    .build();

    static String url() {
        String url = System.getenv("REDIS_URL");
        if (url == null || url.isEmpty()) {
            throw new IllegalStateException(
                    "REDIS_URL is not set. From the root of the repository: tools/with-server.sh"
                            + " examples/java/test.sh");
        }
        return url;
    }

    static HostAndPort address() {
        URI url = URI.create(url());
        return new HostAndPort(url.getHost(), url.getPort());
    }

    static void until(String what, BooleanSupplier condition) {
        long end = System.nanoTime() + DEADLINE.toNanos();
        while (!condition.getAsBoolean()) {
            if (System.nanoTime() > end) {
                fail("in vain waited for: " + what);
            }
            try {
                Thread.sleep(5);
            } catch (InterruptedException interrupted) {
                throw new IllegalStateException(interrupted);
            }
        }
    }

    RedisClient client() {
        return client;
    }

    long waiters(String key) {
        List<Object> info = info(key);
        return info == null ? 0 : (Long) field(info, "waiters");
    }

    /** A field of the first holder. */
    long holder(String key, String field) {
        List<?> holders = (List<?>) field(info(key), "holders");
        return (Long) field((List<?>) holders.get(0), field);
    }

    boolean isHeld(String key) {
        return info(key) != null;
    }

    long release(String key, String owner) {
        CommandArguments request =
                new CommandArguments(() -> SafeEncoder.encode("LOCK.RELEASE")).key(key).add(owner);
        return client.executeCommand(new CommandObject<>(request, BuilderFactory.LONG));
    }

    Object send(Protocol.Command command, String... args) {
        CommandArguments request = new CommandArguments(command).addObjects((Object[]) args);
        return client.executeCommand(new CommandObject<>(request, BuilderFactory.ENCODED_OBJECT));
    }

    /** How many wait for any lock. */
    long allWaiters() {
        String info = (String) send(Protocol.Command.INFO, "redislock");
        return info.lines()
                .filter(line -> line.startsWith("redislock_waiters:"))
                .mapToLong(line -> Long.parseLong(line.substring(line.indexOf(':') + 1)))
                .findFirst()
                .orElseThrow();
    }

    private List<Object> info(String key) {
        CommandArguments request =
                new CommandArguments(() -> SafeEncoder.encode("LOCK.INFO")).key(key);
        return client.executeCommand(
                new CommandObject<>(request, BuilderFactory.ENCODED_OBJECT_LIST));
    }

    /** A map is a flat list in RESP2. */
    private static Object field(List<?> map, String name) {
        return map.get(map.indexOf(name) + 1);
    }

    @Override
    public void close() {
        client.close();
    }
}
