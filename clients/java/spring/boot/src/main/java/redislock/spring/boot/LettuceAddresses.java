package redislock.spring.boot;

import java.util.List;

import io.lettuce.core.RedisURI;
import redislock.lettuce.LettuceConnector;
import redislock.spi.Connector;
import redislock.spi.Endpoint;

/** Makes connectors of Lettuce. */
final class LettuceAddresses {
    private LettuceAddresses() {}

    static Connector connector(RedisAddress address) {
        if (!address.getCluster().getNodes().isEmpty()) {
            return LettuceConnector.cluster(address.getCluster().getNodes().stream()
                    .map(Nodes::parse)
                    .map(node -> uri(address, node))
                    .toArray(RedisURI[]::new));
        }
        if (address.getSentinel().getMaster() != null) {
            return LettuceConnector.sentinel(sentinel(address));
        }
        if (address.getUrl() != null) {
            return LettuceConnector.single(RedisURI.create(address.getUrl()));
        }
        return LettuceConnector.single(uri(address, new Endpoint(address.getHost(), address.getPort())));
    }

    private static RedisURI uri(RedisAddress address, Endpoint node) {
        RedisURI.Builder builder = RedisURI.builder().withHost(node.host()).withPort(node.port());
        settings(builder, address);
        return builder.build();
    }

    private static void settings(RedisURI.Builder builder, RedisAddress address) {
        builder.withSsl(address.getSsl().isEnabled()).withDatabase(address.getDatabase());
        authenticate(builder, address.getUsername(), address.getPassword());
    }

    private static void authenticate(RedisURI.Builder builder, String user, String password) {
        if (password != null && user != null) {
            builder.withAuthentication(user, password.toCharArray());
        } else if (password != null) {
            builder.withPassword(password.toCharArray());
        }
    }

    private static RedisURI sentinel(RedisAddress address) {
        List<Endpoint> nodes = address.getSentinel().getNodes().stream().map(Nodes::parse).toList();
        RedisURI.Builder builder = RedisURI.builder().withSentinelMasterId(address.getSentinel().getMaster());
        for (Endpoint node : nodes) {
            RedisURI.Builder one = RedisURI.builder().withHost(node.host()).withPort(node.port())
                    .withSsl(address.getSsl().isEnabled());
            authenticate(one, address.getSentinel().getUsername(), address.getSentinel().getPassword());
            builder.withSentinel(one.build());
        }
        settings(builder, address);
        return builder.build();
    }
}
