/** Locks over connections of Jedis. */
package redislock.jedis;
