package redislock.driver;

import java.net.URI;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.function.LongSupplier;

import com.fasterxml.jackson.databind.JsonNode;
import io.lettuce.core.RedisURI;
import redis.clients.jedis.DefaultJedisClientConfig;
import redis.clients.jedis.HostAndPort;
import redis.clients.jedis.JedisClientConfig;
import redislock.BuilderAccess;
import redislock.LockClient;
import redislock.internal.LeaseClock;
import redislock.jedis.JedisConnector;
import redislock.lettuce.LettuceConnector;
import redislock.spi.Connector;
import redislock.testing.FakeLockServer;

/** Makes a client for a request {@code connect}. */
final class Connecting {
    private static final String FAULT = System.getenv().getOrDefault("PLANTED_FAULT", "");

    private Connecting() {}

    static LockClient client(String flavour, JsonNode request) {
        Connector connector = connector(flavour, request);
        Duration timeout = Duration.ofMillis(request.path("request_timeout_ms").asLong(1000));
        LockClient.Builder builder = LockClient.builder(Planted.connector(FAULT, connector, timeout))
                .requestTimeout(timeout)
                .shareWaits(request.path("share_waits").asBoolean());
        if (request.hasNonNull("label")) {
            builder.label(request.get("label").asText());
        }
        if (request.hasNonNull("max_connections")) {
            // Besides those of waits there are two.
            builder.maxWaits(Math.max(1, request.get("max_connections").asInt() - 2));
        }
        String sleep = System.getenv("REDIS_LOCK_SLEEP_FILE");
        if (sleep != null) {
            BuilderAccess.clock(builder, machine(Path.of(sleep)));
        }
        Planted.settings(FAULT, builder);
        return builder.build();
    }

    /** The machine of the suite that can be put to sleep: the time since its start is ahead by so many seconds. */
    private static LeaseClock machine(Path file) {
        LongSupplier sinceStart = () -> {
            try {
                byte[] seconds = Files.readAllBytes(file);
                long slept = ByteBuffer.wrap(seconds).order(ByteOrder.nativeOrder()).getLong();
                return System.nanoTime() + slept * 1_000_000_000L;
            } catch (java.io.IOException unreadable) {
                throw new java.io.UncheckedIOException(unreadable);
            }
        };
        return new LeaseClock(System::nanoTime, sinceStart, 60_000_000L);
    }

    private static Connector connector(String flavour, JsonNode request) {
        List<String> urls = new ArrayList<>();
        request.path("urls").forEach(url -> urls.add(url.asText()));
        String deployment = request.path("deployment").asText();
        if (deployment.equals("fake")) {
            return new FakeLockServer().connector();
        }
        String service = request.path("service").asText();
        return flavour.equals("jedis") ? jedis(deployment, urls, service) : lettuce(deployment, urls, service);
    }

    private static Connector lettuce(String deployment, List<String> urls, String service) {
        List<RedisURI> uris = urls.stream().map(RedisURI::create).toList();
        switch (deployment) {
            case "single":
                return LettuceConnector.single(uris.get(0));
            case "cluster":
                return LettuceConnector.cluster(uris.toArray(RedisURI[]::new));
            case "sentinel":
                RedisURI.Builder all = RedisURI.Builder.sentinel(uris.get(0).getHost(), uris.get(0).getPort(), service);
                uris.stream().skip(1).forEach(all::withSentinel);
                return LettuceConnector.sentinel(all.build());
            default:
                throw new UnsupportedOperationException("the Java client does not have this: " + deployment);
        }
    }

    private static Connector jedis(String deployment, List<String> urls, String service) {
        List<HostAndPort> servers = new ArrayList<>();
        DefaultJedisClientConfig.Builder config = DefaultJedisClientConfig.builder();
        for (String url : urls) {
            URI uri = URI.create(url);
            servers.add(new HostAndPort(uri.getHost(), uri.getPort()));
            if (uri.getUserInfo() != null) {
                String[] parts = uri.getUserInfo().split(":", 2);
                if (!parts[0].isEmpty()) {
                    config.user(parts[0]);
                }
                config.password(parts[1]);
            }
        }
        JedisClientConfig settings = config.build();
        return switch (deployment) {
            case "single" -> JedisConnector.single(servers.get(0), settings);
            case "cluster" -> JedisConnector.cluster(servers, settings);
            case "sentinel" -> JedisConnector.sentinel(service, servers, settings, settings);
            default -> throw new UnsupportedOperationException("the Java client does not have this: " + deployment);
        };
    }
}
