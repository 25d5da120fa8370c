package redislock.tests;

import io.lettuce.core.RedisURI;
import java.util.List;
import java.util.stream.Stream;
import redis.clients.jedis.DefaultJedisClientConfig;
import redis.clients.jedis.HostAndPort;
import redislock.jedis.JedisConnector;
import redislock.lettuce.LettuceConnector;
import redislock.spi.Connector;
import redislock.spi.Endpoint;

/** The client libraries, by the way in which each is told where the servers are. */
public enum Library {
    LETTUCE {
        @Override
        public Connector single(Endpoint server) {
            return LettuceConnector.single(uri(server));
        }

        @Override
        public Connector cluster(List<Endpoint> nodes) {
            return LettuceConnector.cluster(nodes.stream().map(LETTUCE::uri).toArray(RedisURI[]::new));
        }

        @Override
        public Connector sentinel(String service, List<Endpoint> sentinels) {
            RedisURI.Builder uri = RedisURI.Builder.sentinel(
                    sentinels.get(0).host(), sentinels.get(0).port(), service);
            sentinels.stream().skip(1).forEach(each -> uri.withSentinel(each.host(), each.port()));
            return LettuceConnector.sentinel(uri.build());
        }
    },
    JEDIS {
        @Override
        public Connector single(Endpoint server) {
            return JedisConnector.single(address(server), DefaultJedisClientConfig.builder().build());
        }

        @Override
        public Connector cluster(List<Endpoint> nodes) {
            return JedisConnector.cluster(addresses(nodes), DefaultJedisClientConfig.builder().build());
        }

        @Override
        public Connector sentinel(String service, List<Endpoint> sentinels) {
            return JedisConnector.sentinel(service, addresses(sentinels), DefaultJedisClientConfig.builder().build(),
                    DefaultJedisClientConfig.builder().build());
        }
    };

    public abstract Connector single(Endpoint server);

    public abstract Connector cluster(List<Endpoint> nodes);

    public abstract Connector sentinel(String service, List<Endpoint> sentinels);

    RedisURI uri(Endpoint server) {
        return RedisURI.create(server.host(), server.port());
    }

    static HostAndPort address(Endpoint server) {
        return new HostAndPort(server.host(), server.port());
    }

    static List<HostAndPort> addresses(List<Endpoint> servers) {
        return servers.stream().map(Library::address).toList();
    }

    static Stream<Library> all() {
        return Stream.of(values());
    }
}
