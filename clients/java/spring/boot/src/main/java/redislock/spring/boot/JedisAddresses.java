package redislock.spring.boot;

import java.net.URI;
import java.util.List;

import redis.clients.jedis.DefaultJedisClientConfig;
import redis.clients.jedis.HostAndPort;
import redis.clients.jedis.JedisClientConfig;
import redislock.jedis.JedisConnector;
import redislock.spi.Connector;
import redislock.spi.Endpoint;

/** Makes connectors of Jedis. */
final class JedisAddresses {
    private JedisAddresses() {}

    static Connector connector(RedisAddress address) {
        JedisClientConfig config = config(address.getUsername(), address.getPassword(), address.getDatabase(),
                address.getSsl().isEnabled());
        if (!address.getCluster().getNodes().isEmpty()) {
            return JedisConnector.cluster(nodes(address.getCluster().getNodes()), config);
        }
        RedisAddress.Sentinel sentinel = address.getSentinel();
        if (sentinel.getMaster() != null) {
            return JedisConnector.sentinel(sentinel.getMaster(), nodes(sentinel.getNodes()), config,
                    config(sentinel.getUsername(), sentinel.getPassword(), 0, address.getSsl().isEnabled()));
        }
        if (address.getUrl() != null) {
            return url(URI.create(address.getUrl()));
        }
        return JedisConnector.single(new HostAndPort(address.getHost(), address.getPort()), config);
    }

    private static Connector url(URI url) {
        String[] user = url.getUserInfo() == null ? new String[0] : url.getUserInfo().split(":", 2);
        String name = user.length < 2 || user[0].isEmpty() ? null : user[0];
        String password = user.length == 0 ? null : user[user.length - 1];
        String path = url.getPath() == null ? "" : url.getPath().replace("/", "");
        int database = path.isEmpty() ? 0 : Integer.parseInt(path);
        return JedisConnector.single(
                new HostAndPort(url.getHost(), url.getPort() < 0 ? 6379 : url.getPort()),
                config(name, password, database, "rediss".equals(url.getScheme())));
    }

    private static List<HostAndPort> nodes(List<String> nodes) {
        return nodes.stream().map(Nodes::parse).map(JedisAddresses::address).toList();
    }

    private static HostAndPort address(Endpoint endpoint) {
        return new HostAndPort(endpoint.host(), endpoint.port());
    }

    private static JedisClientConfig config(String user, String password, int database, boolean ssl) {
        DefaultJedisClientConfig.Builder builder = DefaultJedisClientConfig.builder().database(database).ssl(ssl);
        if (user != null) {
            builder.user(user);
        }
        if (password != null) {
            builder.password(password);
        }
        return builder.build();
    }
}
