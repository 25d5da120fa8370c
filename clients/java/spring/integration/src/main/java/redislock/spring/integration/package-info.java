/** Locks for Spring Integration. */
package redislock.spring.integration;
