/** Locks over connections of Lettuce. */
package redislock.lettuce;
