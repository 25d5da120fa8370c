/** A lock server in memory, for the tests of applications. */
package redislock.testing;
