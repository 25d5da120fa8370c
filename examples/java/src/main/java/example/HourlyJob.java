package example;

import java.time.Duration;

import io.lettuce.core.RedisURI;
import redislock.LockClient;
import redislock.lettuce.LettuceConnector;

/** A job that cron starts on many machines every hour, and that must run on one of them. */
public final class HourlyJob {
    /** Longer than the clocks of the machines differ, and shorter than the hour. */
    private static final Duration PERIOD = Duration.ofMinutes(50);

    private HourlyJob() {}

    /** The argument is the server's address. */
    public static void main(String[] arguments) throws Exception {
        try (LockClient locks = LockClient.builder(LettuceConnector.single(RedisURI.create(arguments[0]))).build()) {
            boolean ran = run(locks, () -> System.out.println("working"));
            System.out.println(ran ? "done" : "another machine does it, or has done it");
        }
    }

    static boolean run(LockClient locks, Runnable job) throws InterruptedException {
        return locks.lock("job:hourly").lease(Duration.ofMinutes(1)).runOncePer(PERIOD, hold -> job.run());
    }
}
