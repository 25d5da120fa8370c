/** Meters for what becomes of locks. */
package redislock.micrometer;
