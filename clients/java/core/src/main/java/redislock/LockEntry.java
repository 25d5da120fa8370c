package redislock;

import java.time.Duration;
import java.util.List;

/**
 * One lock of LOCK.LIST or LOCK.TOP.
 *
 * @param key its key
 * @param mode {@code exclusive}, {@code shared}, {@code cooling} or {@code free}
 * @param owner the holder with the smallest fence, or an empty string
 * @param holdersCount how many owners hold it
 * @param fence the fencing token of this owner's hold
 * @param remaining how long its lease, or the cooling, still lasts
 * @param held the time since the grant
 * @param waiters how many clients wait
 * @param waited how long the first of them has waited; zero in a list
 * @param queue the first three of them; empty in a list
 */
public record LockEntry(
        String key,
        String mode,
        String owner,
        long holdersCount,
        long fence,
        Duration remaining,
        Duration held,
        long waiters,
        Duration waited,
        List<LockInfo.Waiter> queue) {}
