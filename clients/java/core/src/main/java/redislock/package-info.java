/**
 * Distributed locks over redis-lock, a Redis module with LOCK.* commands.
 *
 * <p>Begin with {@link redislock.LockClient}. An adapter for a Redis client library makes one.
 */
package redislock;
