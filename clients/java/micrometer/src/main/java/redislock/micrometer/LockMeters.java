package redislock.micrometer;

import java.time.Duration;
import java.util.List;
import java.util.Locale;

import io.micrometer.core.instrument.Counter;
import io.micrometer.core.instrument.MeterRegistry;
import io.micrometer.core.instrument.Tags;
import io.micrometer.core.instrument.Timer;
import redislock.LockListener;
import redislock.LossReason;

/**
 * Counts and times what becomes of locks. Keys and owners are no tags, because their number has no bound.
 *
 * <ul>
 *   <li>{@code redislock.client.wait}: a timer of acquisitions; {@code result} is {@code acquired} or the simple name
 *       of the exception
 *   <li>{@code redislock.client.hold}: a timer of holds that were released or lost
 *   <li>{@code redislock.client.renewals}: a counter
 *   <li>{@code redislock.client.losses}: a counter; {@code reason} is that of {@link LossReason} in lower case
 * </ul>
 */
public final class LockMeters implements LockListener {
    private final MeterRegistry registry;
    private final Tags tags;
    private final Timer hold;
    private final Counter renewals;

    /**
     * Makes a listener for {@code LockClient.Builder.listener}.
     *
     * @param registry where the meters are
     * @param tags names and values that all meters get
     */
    public LockMeters(MeterRegistry registry, String... tags) {
        this.registry = registry;
        this.tags = Tags.of(tags);
        this.hold = registry.timer("redislock.client.hold", this.tags);
        this.renewals = registry.counter("redislock.client.renewals", this.tags);
    }

    @Override
    public void acquired(List<String> keys, String owner, Duration waited) {
        waited("acquired", waited);
    }

    @Override
    public void refused(List<String> keys, String owner, Duration waited, Throwable why) {
        waited(why.getClass().getSimpleName(), waited);
    }

    private void waited(String result, Duration time) {
        registry.timer("redislock.client.wait", tags.and("result", result)).record(time);
    }

    @Override
    public void released(List<String> keys, String owner, Duration held) {
        hold.record(held);
    }

    @Override
    public void renewed(List<String> keys, String owner) {
        renewals.increment();
    }

    @Override
    public void lost(List<String> keys, String owner, Duration held, LossReason reason) {
        hold.record(held);
        String name = reason.name().toLowerCase(Locale.ROOT);
        registry.counter("redislock.client.losses", tags.and("reason", name)).increment();
    }
}
