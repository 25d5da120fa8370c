package redislock.spring.boot;

import io.micrometer.core.instrument.MeterRegistry;
import org.springframework.beans.factory.ObjectProvider;
import org.springframework.boot.autoconfigure.AutoConfiguration;
import org.springframework.boot.autoconfigure.condition.ConditionalOnBean;
import org.springframework.boot.autoconfigure.condition.ConditionalOnClass;
import org.springframework.boot.autoconfigure.condition.ConditionalOnMissingBean;
import org.springframework.boot.autoconfigure.condition.ConditionalOnMissingClass;
import org.springframework.boot.autoconfigure.condition.ConditionalOnProperty;
import org.springframework.boot.context.properties.EnableConfigurationProperties;
import org.springframework.boot.context.properties.bind.Bindable;
import org.springframework.boot.context.properties.bind.Binder;
import org.springframework.context.annotation.Bean;
import org.springframework.context.annotation.Configuration;
import org.springframework.core.env.Environment;
import org.springframework.integration.support.locks.LockRegistry;
import redislock.LockClient;
import redislock.LockListener;
import redislock.jedis.JedisConnector;
import redislock.lettuce.LettuceConnector;
import redislock.micrometer.LockMeters;
import redislock.spi.Connector;
import redislock.spring.integration.LockClientRegistry;

/**
 * Makes a {@link LockClient} over Lettuce or Jedis, meters for it if Micrometer is there, and a registry of locks if
 * Spring Integration is there. A bean of the same type that the application defines takes the place of each.
 */
@AutoConfiguration(
        afterName = {
            "org.springframework.boot.actuate.autoconfigure.metrics.CompositeMeterRegistryAutoConfiguration",
            "org.springframework.boot.micrometer.metrics.autoconfigure.CompositeMeterRegistryAutoConfiguration"
        })
@ConditionalOnClass(LockClient.class)
@EnableConfigurationProperties(RedisLockProperties.class)
public class RedisLockAutoConfiguration {
    /** Makes the configuration. */
    public RedisLockAutoConfiguration() {}

    /**
     * The client.
     *
     * @param connector how to reach the servers
     * @param properties the settings
     * @param listeners who is told what becomes of locks
     * @param environment for the name of the application
     * @return the client; closed with the application
     */
    @Bean(destroyMethod = "close")
    @ConditionalOnBean(Connector.class)
    @ConditionalOnMissingBean
    public LockClient lockClient(
            Connector connector,
            RedisLockProperties properties,
            ObjectProvider<LockListener> listeners,
            Environment environment) {
        LockClient.Builder builder = LockClient.builder(connector);
        builder.label(properties.label() == null
                ? environment.getProperty("spring.application.name")
                : properties.label());
        if (properties.lease() != null) {
            builder.lease(properties.lease());
        }
        if (properties.requestTimeout() != null) {
            builder.requestTimeout(properties.requestTimeout());
        }
        if (properties.tracking() != null) {
            builder.tracking(properties.tracking());
        }
        if (properties.shareWaits() != null) {
            builder.shareWaits(properties.shareWaits());
        }
        if (properties.maxWaits() != null) {
            builder.maxWaits(properties.maxWaits());
        }
        listeners.orderedStream().forEach(builder::listener);
        return builder.build();
    }

    static RedisAddress address(Environment environment) {
        RedisAddress address = new RedisAddress();
        Binder binder = Binder.get(environment);
        binder.bind("spring.data.redis", Bindable.ofInstance(address));
        binder.bind("redislock.redis", Bindable.ofInstance(address));
        return address;
    }

    /** Connections of Lettuce. */
    @Configuration(proxyBeanMethods = false)
    @ConditionalOnClass(LettuceConnector.class)
    @ConditionalOnProperty(name = "redislock.library", havingValue = "lettuce", matchIfMissing = true)
    static class OverLettuce {
        @Bean(destroyMethod = "")
        @ConditionalOnMissingBean(Connector.class)
        Connector lettuceConnector(Environment environment) {
            return LettuceAddresses.connector(address(environment));
        }
    }

    /** Connections of Jedis, if the application says so. */
    @Configuration(proxyBeanMethods = false)
    @ConditionalOnClass(JedisConnector.class)
    @ConditionalOnProperty(name = "redislock.library", havingValue = "jedis")
    static class OverJedis {
        @Bean(destroyMethod = "")
        @ConditionalOnMissingBean(Connector.class)
        Connector jedisConnector(Environment environment) {
            return JedisAddresses.connector(address(environment));
        }
    }

    /** Connections of Jedis, if there is nothing else. */
    @Configuration(proxyBeanMethods = false)
    @ConditionalOnClass(JedisConnector.class)
    @ConditionalOnMissingClass("redislock.lettuce.LettuceConnector")
    static class OverJedisAlone {
        @Bean(destroyMethod = "")
        @ConditionalOnMissingBean(Connector.class)
        Connector jedisConnector(Environment environment) {
            return JedisAddresses.connector(address(environment));
        }
    }

    /** Meters. */
    @Configuration(proxyBeanMethods = false)
    @ConditionalOnClass({MeterRegistry.class, LockMeters.class})
    static class Meters {
        @Bean
        @ConditionalOnBean(MeterRegistry.class)
        @ConditionalOnMissingBean
        LockMeters lockMeters(MeterRegistry registry) {
            return new LockMeters(registry);
        }
    }

    /** Spring Integration. */
    @Configuration(proxyBeanMethods = false)
    @ConditionalOnClass({LockRegistry.class, LockClientRegistry.class})
    static class Registry {
        @Bean
        @ConditionalOnMissingBean(LockRegistry.class)
        LockClientRegistry lockClientRegistry(LockClient client, RedisLockProperties properties) {
            String prefix = properties.registryPrefix();
            return new LockClientRegistry(client, prefix == null ? "lock" : prefix);
        }
    }
}
