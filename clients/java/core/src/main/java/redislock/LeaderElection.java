package redislock;

import java.time.Duration;
import java.util.Objects;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.function.Consumer;

import redislock.internal.Keeper;

/**
 * Elects one leader among many processes. The candidates wait in the server's queue, so when a leader resigns or dies,
 * the one that has waited longest is next.
 */
public final class LeaderElection {
    private final LockClient client;
    private final RedisLock lock;

    LeaderElection(LockClient client, RedisLock lock) {
        this.client = client;
        this.lock = lock;
    }

    /**
     * Sets how long a leader that cannot be reached remains leader.
     *
     * @param lease from 1 ms to 365 days
     * @return an election with this setting
     */
    public LeaderElection lease(Duration lease) {
        return new LeaderElection(client, lock.lease(lease));
    }

    /**
     * Makes the next one leader as soon as the leader's connection closes, as it does when its process dies.
     *
     * @return an election with this setting
     */
    public LeaderElection session() {
        return new LeaderElection(client, lock.session());
    }

    /**
     * Waits until this process is the leader.
     *
     * @return the leadership
     * @throws InterruptedException if the thread was interrupted; the process is no candidate any more
     * @throws LockException if the server refused it
     */
    public Leadership elect() throws InterruptedException {
        return new Leadership(lock.acquire());
    }

    /**
     * Makes this process a candidate without blocking.
     *
     * @return completes when this process is the leader. Cancelling it ends the candidature.
     */
    public CompletableFuture<Leadership> electAsync() {
        CompletableFuture<Hold> hold = lock.acquireAsync();
        CompletableFuture<Leadership> elected = new CompletableFuture<>();
        hold.whenComplete((granted, error) -> {
            if (error != null) {
                elected.completeExceptionally(error);
            } else if (!elected.complete(new Leadership(granted))) {
                granted.releaseAsync();
            }
        });
        elected.whenComplete((leadership, error) -> {
            if (error != null) {
                hold.cancel(false);
            }
        });
        return elected;
    }

    /**
     * Asks who leads.
     *
     * @return the owner, or nothing if nobody leads
     * @throws LockException if the server refused it or cannot be reached
     */
    public Optional<String> leader() {
        return client.info(lock.keys().get(0)).flatMap(LeaderElection::leaderOf);
    }

    /**
     * Tells who leads, now and at each change. The server tells of changes, so nothing polls; only where it may not do
     * so, it is asked once a second.
     *
     * @param listener is called with the owner, or with nothing if nobody leads, on the client's executor
     * @return closing it ends the calls
     */
    public AutoCloseable observe(Consumer<Optional<String>> listener) {
        Consumer<LockInfo> changes = new Consumer<>() {
            private Optional<String> last;

            @Override
            public synchronized void accept(LockInfo info) {
                Optional<String> now = Optional.ofNullable(info).flatMap(LeaderElection::leaderOf);
                if (!Objects.equals(now, last)) {
                    last = now;
                    listener.accept(now);
                }
            }
        };
        Keeper keeper = client.engine().keeper();
        Keeper.Watch watch = keeper.watch(lock.keys().get(0), changes);
        return () -> keeper.unwatch(watch);
    }

    private static Optional<String> leaderOf(LockInfo info) {
        return info.holders().stream().findFirst().map(LockInfo.Holder::owner);
    }
}
