package example;

import java.time.Duration;

import redis.clients.jedis.DefaultJedisClientConfig;
import redis.clients.jedis.HostAndPort;
import redis.clients.jedis.JedisClientConfig;
import redis.clients.jedis.UnifiedJedis;
import redislock.Hold;
import redislock.LockClient;
import redislock.jedis.JedisConnector;

/** Locks beside the application's own client of Jedis: both are made from the same address and configuration. */
public final class Beside {
    private Beside() {}

    /** The arguments are host and port. */
    public static void main(String[] arguments) throws InterruptedException {
        System.out.println(run(new HostAndPort(arguments[0], Integer.parseInt(arguments[1]))));
    }

    static String run(HostAndPort server) throws InterruptedException {
        JedisClientConfig config = DefaultJedisClientConfig.builder().build();
        try (UnifiedJedis redis = new UnifiedJedis(server, config);
                LockClient locks = LockClient.builder(JedisConnector.single(server, config)).build();
                Hold hold = locks.lock("lock:counter").acquire(Duration.ofSeconds(5))) {
            String before = redis.get("counter");
            redis.set("counter", before == null ? "1" : Integer.toString(Integer.parseInt(before) + 1));
            return redis.get("counter");
        }
    }
}
