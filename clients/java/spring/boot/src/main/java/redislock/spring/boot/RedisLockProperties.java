package redislock.spring.boot;

import java.time.Duration;

import org.springframework.boot.context.properties.ConfigurationProperties;

/**
 * The settings under {@code redislock}. The servers are those of {@code spring.data.redis}; what stands under
 * {@code redislock.redis} in the same words counts more.
 *
 * @param label the first part of all owners; default: {@code spring.application.name}
 * @param lease the lease of locks that name none; default: 30 s
 * @param requestTimeout how long a server may take to answer before it is looked after; default: 1 s
 * @param tracking whether the server tells of a loss at once; default: true
 * @param shareWaits whether the waits of this process for one key stand behind one wait in the server; default: false
 * @param maxWaits how many may wait in servers at a time; default: 2000
 * @param library {@code lettuce} or {@code jedis}; default: the one that is there, Lettuce if both are
 * @param registryPrefix stands before the keys of Spring Integration's registry; default: {@code lock}
 */
@ConfigurationProperties("redislock")
public record RedisLockProperties(
        String label,
        Duration lease,
        Duration requestTimeout,
        Boolean tracking,
        Boolean shareWaits,
        Integer maxWaits,
        String library,
        String registryPrefix) {}
