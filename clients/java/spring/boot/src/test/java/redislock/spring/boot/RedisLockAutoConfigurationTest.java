package redislock.spring.boot;

import static org.assertj.core.api.Assertions.assertThat;

import java.time.Duration;

import io.micrometer.core.instrument.MeterRegistry;
import io.micrometer.core.instrument.simple.SimpleMeterRegistry;
import org.junit.jupiter.api.Test;
import org.springframework.boot.autoconfigure.AutoConfigurations;
import org.springframework.boot.test.context.FilteredClassLoader;
import org.springframework.boot.test.context.runner.ApplicationContextRunner;
import org.springframework.integration.support.locks.LockRegistry;
import redislock.Hold;
import redislock.LockClient;
import redislock.jedis.JedisConnector;
import redislock.lettuce.LettuceConnector;
import redislock.micrometer.LockMeters;
import redislock.spi.Connector;
import redislock.spi.Deployment;
import redislock.spi.Endpoint;
import redislock.spring.integration.LockClientRegistry;
import redislock.testing.FakeLockServer;

class RedisLockAutoConfigurationTest {
    private final ApplicationContextRunner runner = new ApplicationContextRunner()
            .withConfiguration(AutoConfigurations.of(RedisLockAutoConfiguration.class));

    @Test
    void aClientAndARegistryAreMade() {
        runner.withPropertyValues("spring.data.redis.host=redis.example", "spring.data.redis.port=7000").run(context -> {
            assertThat(context).hasSingleBean(LockClient.class).hasSingleBean(LockClientRegistry.class);
            assertThat(context.getBean(Connector.class)).isInstanceOf(LettuceConnector.class);
            assertThat(context.getBean(Connector.class).deployment().endpoints())
                    .containsExactly(new Endpoint("redis.example", 7000));
            assertThat(context).doesNotHaveBean(LockMeters.class);
        });
    }

    @Test
    void jedisIsUsedWhereLettuceIsNot() {
        runner.withClassLoader(new FilteredClassLoader(LettuceConnector.class)).run(context ->
                assertThat(context.getBean(Connector.class)).isInstanceOf(JedisConnector.class));
        runner.withPropertyValues("redislock.library=jedis", "redislock.redis.url=redis://:secret@h:1/2").run(context -> {
            assertThat(context.getBean(Connector.class)).isInstanceOf(JedisConnector.class);
            assertThat(context.getBean(Connector.class).deployment().endpoints()).containsExactly(new Endpoint("h", 1));
        });
    }

    @Test
    void sentinelsAndClustersAreKnown() {
        for (String library : new String[] {"lettuce", "jedis"}) {
            runner.withPropertyValues("redislock.library=" + library,
                    "spring.data.redis.sentinel.master=main",
                    "spring.data.redis.sentinel.nodes=a:1,b:2").run(context -> {
                        Deployment deployment = context.getBean(Connector.class).deployment();
                        assertThat(deployment.kind()).isEqualTo(Deployment.Kind.SENTINEL);
                        assertThat(deployment.service()).isEqualTo("main");
                        assertThat(deployment.endpoints()).containsExactly(new Endpoint("a", 1), new Endpoint("b", 2));
                    });
            runner.withPropertyValues("redislock.library=" + library, "spring.data.redis.cluster.nodes=a:1,b:2")
                    .run(context -> {
                        Deployment deployment = context.getBean(Connector.class).deployment();
                        assertThat(deployment.kind()).isEqualTo(Deployment.Kind.CLUSTER);
                        assertThat(deployment.endpoints()).hasSize(2);
                    });
        }
    }

    @Test
    void theApplicationsOwnBeansCountMore() {
        FakeLockServer server = new FakeLockServer();
        runner.withBean(Connector.class, server::connector)
                .withBean(MeterRegistry.class, SimpleMeterRegistry::new)
                .withPropertyValues("spring.application.name=billing", "redislock.lease=5s",
                        "redislock.registry-prefix=app", "redislock.share-waits=true")
                .run(context -> {
                    LockClient locks = context.getBean(LockClient.class);
                    try (Hold hold = locks.lock("k").acquire(Duration.ofMinutes(1))) {
                        assertThat(hold.owner()).startsWith("billing/");
                        assertThat(hold.remaining()).isLessThanOrEqualTo(Duration.ofSeconds(5));
                    }
                    context.getBean(LockClientRegistry.class).obtain("r").lock();
                    assertThat(server.execute("EXISTS", "app:r")).isEqualTo(1L);
                    assertThat(context.getBean(MeterRegistry.class).get("redislock.client.wait").timer().count())
                            .isEqualTo(2);
                });
        // The client was closed with the application, and has released its locks.
        assertThat(server.execute("EXISTS", "app:r")).isEqualTo(0L);
    }

    @Test
    void nothingIsMadeWithoutALibrary() {
        runner.withClassLoader(new FilteredClassLoader(LettuceConnector.class, JedisConnector.class)).run(context ->
                assertThat(context).hasFailed());
        runner.withClassLoader(new FilteredClassLoader(LockRegistry.class)).run(context ->
                assertThat(context).hasSingleBean(LockClient.class).doesNotHaveBean(LockClientRegistry.class));
    }
}
