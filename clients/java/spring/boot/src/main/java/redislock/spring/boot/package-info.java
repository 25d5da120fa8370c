/** Locks for Spring Boot. */
package redislock.spring.boot;
