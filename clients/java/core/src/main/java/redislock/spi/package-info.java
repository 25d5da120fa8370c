/** What an adapter for a Redis client library implements. Applications do not need this package. */
package redislock.spi;
