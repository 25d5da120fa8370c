package redislock.lettuce;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Objects;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.TimeUnit;
import java.util.function.UnaryOperator;

import io.lettuce.core.ClientOptions;
import io.lettuce.core.RedisClient;
import io.lettuce.core.RedisURI;
import io.lettuce.core.SocketOptions;
import io.lettuce.core.TimeoutOptions;
import io.lettuce.core.codec.ByteArrayCodec;
import io.lettuce.core.resource.ClientResources;
import redislock.spi.Connector;
import redislock.spi.Deployment;
import redislock.spi.Endpoint;
import redislock.spi.Link;
import redislock.spi.LinkException;
import redislock.spi.LinkRequest;

/**
 * Opens connections by means of Lettuce. It uses a Lettuce client of its own, because locks need connections that are
 * not made anew behind their back; it can share the threads of yours.
 *
 * <pre>{@code
 * LockClient locks = LockClient.builder(LettuceConnector.single(RedisURI.create("redis://localhost"))).build();
 * }</pre>
 */
public final class LettuceConnector implements Connector {
    private final Deployment deployment;
    private final List<RedisURI> uris;
    private final ClientResources resources;
    private final ClientOptions options;
    private final UnaryOperator<Endpoint> addresses;
    private final Set<CompletableFuture<Void>> closing = ConcurrentHashMap.newKeySet();
    private RedisClient client;
    private boolean closed;

    private LettuceConnector(
            Deployment deployment,
            List<RedisURI> uris,
            ClientResources resources,
            ClientOptions options,
            UnaryOperator<Endpoint> addresses) {
        this.deployment = deployment;
        this.uris = uris;
        this.resources = resources;
        this.options = options;
        this.addresses = addresses;
    }

    private static LettuceConnector of(Deployment.Kind kind, List<RedisURI> servers, RedisURI settings, String service) {
        List<Endpoint> endpoints = new ArrayList<>();
        for (RedisURI uri : servers) {
            if (uri.getSocket() != null) {
                throw new IllegalArgumentException("a Unix domain socket cannot be used: " + uri);
            }
            endpoints.add(new Endpoint(uri.getHost(), uri.getPort()));
        }
        List<RedisURI> all = new ArrayList<>();
        all.add(settings);
        all.addAll(servers);
        return new LettuceConnector(new Deployment(kind, endpoints, service), all, null, ClientOptions.create(),
                UnaryOperator.identity());
    }

    /**
     * One server.
     *
     * @param uri its address, with the credentials, the database and whether to use TLS
     * @return a connector
     */
    public static LettuceConnector single(RedisURI uri) {
        return of(Deployment.Kind.SINGLE, List.of(uri), uri, null);
    }

    /**
     * Servers that Sentinels watch over.
     *
     * @param uri the addresses and credentials of the Sentinels, the name by which they know the servers, and the
     *     settings for these, as {@code redis-sentinel://...#name} has them
     * @return a connector
     */
    public static LettuceConnector sentinel(RedisURI uri) {
        Objects.requireNonNull(uri.getSentinelMasterId(), "the name by which the Sentinels know the servers");
        return of(Deployment.Kind.SENTINEL, uri.getSentinels(), uri, uri.getSentinelMasterId());
    }

    /**
     * A Redis Cluster.
     *
     * @param nodes some of its nodes. The settings of the first one are used for all of them.
     * @return a connector
     */
    public static LettuceConnector cluster(RedisURI... nodes) {
        return of(Deployment.Kind.CLUSTER, Arrays.asList(nodes), nodes[0], null);
    }

    /**
     * Uses the threads and buffers of another client.
     *
     * @param shared its resources; this connector does not shut them down
     * @return a connector with this setting
     */
    public LettuceConnector withResources(ClientResources shared) {
        return new LettuceConnector(deployment, uris, shared, options, addresses);
    }

    /**
     * Uses the options of another client: those for TLS, for sockets and for the protocol. A protocol of RESP2 means
     * that a loss is not told at once, but noticed at the next renewal.
     *
     * @param clientOptions the options; those for reconnecting and for time-outs are not used
     * @return a connector with this setting
     */
    public LettuceConnector withOptions(ClientOptions clientOptions) {
        return new LettuceConnector(deployment, uris, resources, clientOptions, addresses);
    }

    /**
     * Translates addresses that Sentinels or cluster nodes name, if this process reaches the servers under others.
     *
     * @param translation from the address that was named to the one to connect to
     * @return a connector with this setting
     */
    public LettuceConnector withAddresses(UnaryOperator<Endpoint> translation) {
        return new LettuceConnector(deployment, uris, resources, options, translation);
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
            client(request)
                    .connectAsync(ByteArrayCodec.INSTANCE, uri(request))
                    .toCompletableFuture()
                    .thenCompose(connection -> LettuceLink.open(connection, request, this::closing))
                    .whenComplete((link, error) -> {
                        if (error != null) {
                            opened.completeExceptionally(
                                    new LinkException("no connection to " + request.endpoint() + ": " + why(error), error));
                        } else if (!opened.complete(link)) {
                            link.close("it came too late");
                        }
                    });
        } catch (RuntimeException refused) {
            opened.completeExceptionally(
                    new LinkException("no connection to " + request.endpoint() + ": " + why(refused), refused));
        }
        return opened;
    }

    private static String why(Throwable error) {
        Throwable cause = error;
        while (cause.getCause() != null) {
            cause = cause.getCause();
        }
        return String.valueOf(cause.getMessage() == null ? cause : cause.getMessage());
    }

    private synchronized RedisClient client(LinkRequest request) {
        if (closed) {
            throw new IllegalStateException("the connector is closed");
        }
        if (client == null) {
            SocketOptions sockets = options.getSocketOptions().mutate()
                    .connectTimeout(request.timeout())
                    .keepAlive(true)
                    .build();
            client = resources == null ? RedisClient.create() : RedisClient.create(resources);
            client.setOptions(options.mutate()
                    .autoReconnect(false)
                    .disconnectedBehavior(ClientOptions.DisconnectedBehavior.REJECT_COMMANDS)
                    .timeoutOptions(TimeoutOptions.builder().timeoutCommands(false).build())
                    .socketOptions(sockets)
                    .build());
        }
        return client;
    }

    private RedisURI uri(LinkRequest request) {
        RedisURI settings = uris.get(0);
        if (request.purpose() == LinkRequest.Purpose.SENTINEL) {
            settings = uris.stream()
                    .skip(1)
                    .filter(uri -> request.endpoint().equals(new Endpoint(uri.getHost(), uri.getPort())))
                    .findFirst()
                    .orElse(settings);
        }
        RedisURI.Builder builder = RedisURI.builder()
                .withHost(request.endpoint().host())
                .withPort(request.endpoint().port())
                .withSsl(settings)
                .withAuthentication(settings)
                .withTimeout(request.timeout())
                .withClientName(request.clientName());
        if (request.purpose() != LinkRequest.Purpose.SENTINEL && deployment.kind() != Deployment.Kind.CLUSTER) {
            builder.withDatabase(settings.getDatabase());
        }
        return builder.build();
    }

    @Override
    public String library() {
        String version = RedisClient.class.getPackage().getImplementationVersion();
        return "lettuce " + (version == null ? io.lettuce.core.LettuceVersion.getVersion() : version);
    }

    @Override
    public synchronized void close() {
        closed = true;
        if (client != null) {
            RedisClient ended = client;
            CompletableFuture.allOf(closing.toArray(CompletableFuture[]::new))
                    .whenComplete((done, error) -> ended.shutdownAsync(0, 2, TimeUnit.SECONDS));
        }
    }

    private void closing(CompletableFuture<Void> connection) {
        closing.add(connection);
        connection.whenComplete((done, error) -> closing.remove(connection));
    }
}
