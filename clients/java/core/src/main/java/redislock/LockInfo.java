package redislock;

import java.time.Duration;
import java.util.List;

/**
 * What LOCK.INFO tells about a lock.
 *
 * @param mode {@code exclusive}, {@code shared}, {@code cooling} or {@code free}
 * @param holdersCount how many owners hold the lock
 * @param holders the first 100 of them, by fence
 * @param waiters how many clients wait
 * @param queue the first 10 of them
 * @param cooling how long the lock is still cooling
 */
public record LockInfo(
        String mode, long holdersCount, List<Holder> holders, long waiters, List<Waiter> queue, Duration cooling) {
    /**
     * One holder of a lock.
     *
     * @param owner who holds it
     * @param fence the fencing token of the hold
     * @param remaining how long the lease still lasts
     * @param held the time since the grant
     * @param limit the limit that it gave, or 0
     * @param session the id of the connection that the hold is bound to, or 0
     * @param weight the units that it takes
     * @param max the time until {@code max} ends the hold, or zero if nothing does
     */
    public record Holder(
            String owner, long fence, Duration remaining, Duration held, long limit, long session, long weight,
            Duration max) {}

    /**
     * One client that waits.
     *
     * @param owner who waits
     * @param mode {@code exclusive} or {@code shared}
     * @param waited for how long
     * @param client the id of its connection, as CLIENT LIST shows it
     */
    public record Waiter(String owner, String mode, Duration waited, long client) {}
}
