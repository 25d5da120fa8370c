package redislock;

import java.time.Duration;

/**
 * What the server said about a hold.
 *
 * @param fence the fencing token; the largest one, if there are several keys
 * @param remaining how long the lease still lasts; the shortest one, if there are several keys
 * @param waiters how many clients wait for the lock; the sum, if there are several keys
 */
public record Check(long fence, Duration remaining, long waiters) {}
