package example;

import io.lettuce.core.RedisURI;
import redislock.Leadership;
import redislock.LeaderElection;
import redislock.LockClient;
import redislock.lettuce.LettuceConnector;

/** One of many processes leads. When it dies, its connection closes, and the next one leads at once. */
public final class Leader {
    private Leader() {}

    /** The argument is the server's address. */
    public static void main(String[] arguments) throws Exception {
        try (LockClient locks = LockClient.builder(LettuceConnector.single(RedisURI.create(arguments[0]))).build()) {
            LeaderElection election = locks.leaderElection("leader").session();
            try (AutoCloseable observer = election.observe(leader ->
                            System.out.println("leader: " + leader.orElse("nobody")));
                    Leadership leadership = election.elect()) {
                lead(leadership);
            }
        }
    }

    /** Works as long as this process leads. */
    static void lead(Leadership leadership) throws InterruptedException {
        leadership.lost().thenAccept(reason -> System.out.println("not the leader any more: " + reason));
        while (leadership.isLeader()) {
            Thread.sleep(100);
        }
    }
}
