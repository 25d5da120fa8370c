package redislock.jedis;

import java.io.IOException;
import java.io.InputStream;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Proxy;
import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.Objects;
import java.util.Properties;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.SynchronousQueue;
import java.util.concurrent.ThreadPoolExecutor;
import java.util.concurrent.TimeUnit;
import java.util.function.UnaryOperator;

import redis.clients.jedis.HostAndPort;
import redis.clients.jedis.JedisClientConfig;
import redis.clients.jedis.RedisProtocol;
import redislock.spi.Connector;
import redislock.spi.Deployment;
import redislock.spi.Endpoint;
import redislock.spi.Link;
import redislock.spi.LinkException;
import redislock.spi.LinkRequest;

/**
 * Opens connections by means of Jedis, with the address and the configuration from which the application makes its
 * {@code UnifiedJedis}. The connections are not those of its pool: a wait would keep one of these from others.
 *
 * <p>Each connection has a thread that reads. So acquisitions can be interrupted, and a wait costs a thread.
 *
 * <pre>{@code
 * LockClient locks = LockClient.builder(JedisConnector.single(new HostAndPort("localhost", 6379), config)).build();
 * }</pre>
 */
public final class JedisConnector implements Connector {
    private final Deployment deployment;
    private final JedisClientConfig config;
    private final JedisClientConfig sentinelConfig;
    private final UnaryOperator<Endpoint> addresses;
    private final ExecutorService threads = new ThreadPoolExecutor(
            0, Integer.MAX_VALUE, 5, TimeUnit.SECONDS, new SynchronousQueue<>(), JedisConnector::daemon);

    private JedisConnector(
            Deployment deployment,
            JedisClientConfig config,
            JedisClientConfig sentinelConfig,
            UnaryOperator<Endpoint> addresses) {
        this.deployment = deployment;
        this.config = Objects.requireNonNull(config, "config");
        this.sentinelConfig = sentinelConfig;
        this.addresses = addresses;
    }

    private static Thread daemon(Runnable task) {
        Thread thread = new Thread(task, "redis-lock-jedis");
        thread.setDaemon(true);
        return thread;
    }

    private static JedisConnector of(
            Deployment.Kind kind, Collection<HostAndPort> servers, String service, JedisClientConfig config,
            JedisClientConfig sentinelConfig) {
        List<Endpoint> endpoints = new ArrayList<>();
        servers.forEach(server -> endpoints.add(new Endpoint(server.getHost(), server.getPort())));
        return new JedisConnector(
                new Deployment(kind, endpoints, service), config, sentinelConfig, UnaryOperator.identity());
    }

    /**
     * One server.
     *
     * @param server its address
     * @param config the credentials, the database, TLS and so on. Its time-outs are not used.
     * @return a connector
     */
    public static JedisConnector single(HostAndPort server, JedisClientConfig config) {
        return of(Deployment.Kind.SINGLE, List.of(server), null, config, config);
    }

    /**
     * Servers that Sentinels watch over.
     *
     * @param service the name by which the Sentinels know the servers
     * @param sentinels the addresses of the Sentinels
     * @param config the credentials and so on for the servers
     * @param sentinelConfig the credentials and so on for the Sentinels
     * @return a connector
     */
    public static JedisConnector sentinel(
            String service, Collection<HostAndPort> sentinels, JedisClientConfig config,
            JedisClientConfig sentinelConfig) {
        return of(Deployment.Kind.SENTINEL, sentinels, service, config, Objects.requireNonNull(sentinelConfig));
    }

    /**
     * A Redis Cluster.
     *
     * @param nodes some of its nodes
     * @param config the credentials and so on for all nodes
     * @return a connector
     */
    public static JedisConnector cluster(Collection<HostAndPort> nodes, JedisClientConfig config) {
        return of(Deployment.Kind.CLUSTER, nodes, null, config, config);
    }

    /**
     * Translates addresses that Sentinels or cluster nodes name, if this process reaches the servers under others.
     *
     * @param translation from the address that was named to the one to connect to
     * @return a connector with this setting
     */
    public JedisConnector withAddresses(UnaryOperator<Endpoint> translation) {
        return new JedisConnector(deployment, config, sentinelConfig, translation);
    }

    @Override
    public Deployment deployment() {
        return deployment;
    }

    @Override
    public Endpoint translate(Endpoint named) {
        return addresses.apply(named);
    }

    @Override
    public CompletableFuture<Link> connect(LinkRequest request) {
        CompletableFuture<Link> opened = new CompletableFuture<>();
        try {
            threads.execute(() -> open(request, opened));
        } catch (RuntimeException | OutOfMemoryError refused) {
            // The machine may have no thread left.
            opened.completeExceptionally(failure(request, refused));
        }
        return opened;
    }

    private void open(LinkRequest request, CompletableFuture<Link> opened) {
        JedisLink link;
        try {
            link = JedisLink.open(request, adapted(request), threads);
        } catch (RuntimeException | OutOfMemoryError refused) {
            opened.completeExceptionally(failure(request, refused));
            return;
        }
        if (!opened.complete(link)) {
            link.close("it came too late");
        }
        // This thread goes on as the reader.
        link.read();
    }

    private static LinkException failure(LinkRequest request, Throwable cause) {
        return new LinkException("no connection to " + request.endpoint() + ": " + cause.getMessage(), cause);
    }

    /** The application's configuration, whatever else this version of Jedis has in it, with some differences. */
    private JedisClientConfig adapted(LinkRequest request) {
        boolean sentinel = request.purpose() == LinkRequest.Purpose.SENTINEL;
        JedisClientConfig original = sentinel ? sentinelConfig : config;
        int timeout = (int) Math.min(Integer.MAX_VALUE, Math.max(1, request.timeout().toMillis()));
        return (JedisClientConfig) Proxy.newProxyInstance(
                JedisConnector.class.getClassLoader(), new Class<?>[] {JedisClientConfig.class}, (proxy, method, args) ->
                        switch (method.getName()) {
                            case "getConnectionTimeoutMillis", "getSocketTimeoutMillis" -> timeout;
                            // Invalidation messages come over a subscription, in each version of Jedis alike.
                            case "getRedisProtocol" -> RedisProtocol.RESP2;
                            case "isAutoNegotiateProtocol" -> false;
                            case "getClientName" -> request.clientName();
                            case "getDatabase" -> sentinel || deployment.kind() == Deployment.Kind.CLUSTER
                                    ? 0
                                    : original.getDatabase();
                            default -> {
                                try {
                                    yield method.invoke(original, args);
                                } catch (InvocationTargetException failed) {
                                    throw failed.getCause();
                                }
                            }
                        });
    }

    @Override
    public String library() {
        Properties made = new Properties();
        try (InputStream maven =
                HostAndPort.class.getResourceAsStream("/META-INF/maven/redis.clients/jedis/pom.properties")) {
            if (maven != null) {
                made.load(maven);
            }
        } catch (IOException unreadable) {
            System.getLogger("redislock").log(System.Logger.Level.DEBUG, "the version of Jedis is unknown", unreadable);
        }
        return "jedis " + made.getProperty("version", "of unknown version");
    }

    @Override
    public void close() {
        threads.shutdown();
    }
}
