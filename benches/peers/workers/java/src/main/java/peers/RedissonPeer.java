package peers;

import org.redisson.Redisson;
import org.redisson.RedissonFairLock;
import org.redisson.api.RLock;
import org.redisson.api.RedissonClient;
import org.redisson.config.Config;
import org.redisson.config.SingleServerConfig;

import java.util.List;
import java.util.concurrent.TimeUnit;

/** The locks of Redisson. One RedissonClient serves all threads, as its documentation has it. */
final class RedissonPeer implements Peer {
    private static final String LOCKS =
            "https://redisson.pro/docs/data-and-services/locks-and-synchronizers/";
    private static final String CALLS = ", lockInterruptibly(lease), unlock";
    private static final String CONFIGURATION = "https://redisson.pro/docs/configuration/";

    private static final Kind LOCK = RedissonClient::getLock;
    private static final Kind FAIR = RedissonClient::getFairLock;
    private static final Kind SPIN = RedissonClient::getSpinLock;

    // The lease is given: that spares Redisson the watchdog, which no other side has either.
    static final List<Entry> ENTRIES =
            List.of(
                    defaults("redisson", "getLock", LOCK),
                    tuned("redisson", "getLock", LOCK),
                    defaults("redisson-fair", "getFairLock", FAIR),
                    tuned("redisson-fair", "getFairLock", FAIR),
                    defaults("redisson-spin", "getSpinLock", SPIN));

    /** Which of its locks. */
    @FunctionalInterface
    private interface Kind {
        RLock lock(RedissonClient redisson, String key);
    }

    private final RedissonClient redisson;
    private final Kind kind;
    private final Job job;

    private RedissonPeer(Config config, Kind kind, Job job) {
        this.redisson = Redisson.create(config);
        this.kind = kind;
        this.job = job;
    }

    private static Entry defaults(String peer, String getter, Kind kind) {
        String settings = getter + CALLS + "; one RedissonClient with its default settings";
        return new Entry(
                about(peer, "defaults", settings),
                job -> {
                    Config config = new Config();
                    server(config, job);
                    return new RedissonPeer(config, kind, job);
                });
    }

    /** A connection for each thread, so that none waits for the pool. */
    private static Entry tuned(String peer, String getter, Kind kind) {
        String settings =
                getter
                        + CALLS
                        + "; one RedissonClient, connectionPoolSize and connectionMinimumIdleSize ="
                        + " clients, or the default if larger";
        return new Entry(
                about(peer, "tuned", settings),
                job -> {
                    Config config = new Config();
                    SingleServerConfig server = server(config, job);
                    server.setConnectionPoolSize(
                            Math.max(server.getConnectionPoolSize(), job.clients()));
                    server.setConnectionMinimumIdleSize(
                            Math.max(server.getConnectionMinimumIdleSize(), job.clients()));
                    return new RedissonPeer(config, kind, job);
                });
    }

    private static SingleServerConfig server(Config config, Job job) {
        return config.useSingleServer().setAddress("redis://" + job.redis());
    }

    private static About about(String peer, String row, String settings) {
        String version = Versions.of("org.redisson", "redisson");
        return new About(
                peer,
                row,
                "org.redisson:redisson",
                version,
                "redisson " + version,
                settings,
                List.of(LOCKS, CONFIGURATION));
    }

    @Override
    public Client client(String key) {
        RLock lock = kind.lock(redisson, key);
        return new Client() {
            @Override
            public boolean acquire() throws InterruptedException {
                lock.lockInterruptibly(job.leaseMs(), TimeUnit.MILLISECONDS);
                return true;
            }

            @Override
            public void release() {
                lock.unlock();
            }

            @Override
            public void giveUp(Thread waiting) {
                waiting.interrupt();
            }
        };
    }

    /**
     * Leaves nothing behind. An interrupted waiter stays in the queue of a fair lock, and a request
     * that was under way when its thread was interrupted may be granted after the last release:
     * either would stop the next run on this key.
     */
    @Override
    public void close() {
        redisson.shutdown(0, 2, TimeUnit.SECONDS);
        if (job.contended()) {
            Config config = new Config();
            server(config, job).setConnectionMinimumIdleSize(1);
            RedissonClient after = Redisson.create(config);
            // Of all kinds the fair lock has the most keys.
            ((RedissonFairLock) after.getFairLock(job.key())).delete();
            after.shutdown(0, 2, TimeUnit.SECONDS);
        }
    }
}
