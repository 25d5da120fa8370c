package peers;

import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;

/** The sums over all locks of a run. */
final class Totals {
    /** By client, as all lists and keys here. */
    final List<Samples> waits;

    final Map<Integer, Long> pending = new HashMap<>();
    final Samples handoffs = new Samples();
    long overtakes;
    long grantsTotal;
    long violations;
    long sections;
    long sectionNanos;

    Totals(int clients) {
        waits = Stream.generate(Samples::new).limit(clients).toList();
    }

    List<Integer> perClient() {
        return waits.stream().map(Samples::size).toList();
    }

    Map<String, Double> waitMicros() {
        Samples all = new Samples();
        waits.forEach(all::addAll);
        Map<String, Double> found = new LinkedHashMap<>(Quantiles.of(all));
        // A wait that is still pending has no end, but it was that long at least.
        pending.values().stream()
                .max(Long::compare)
                .map(Quantiles::micros)
                .ifPresent(oldest -> found.merge("max", oldest, Math::max));
        return found;
    }

    /** Each client counts the same, however often it was served, and its pending wait too. */
    Map<String, Double> waitMicrosByClient() {
        List<Samples> groups = Stream.generate(Samples::new).limit(waits.size()).toList();
        for (int client = 0; client < groups.size(); client++) {
            groups.get(client).addAll(waits.get(client));
        }
        pending.forEach((client, age) -> groups.get(client).add(age));
        return Quantiles.ofGroups(groups);
    }

    /** Null where nothing was measured. */
    Double sectionMicrosMean() {
        return sections == 0 ? null : Quantiles.micros((double) sectionNanos / sections);
    }
}
