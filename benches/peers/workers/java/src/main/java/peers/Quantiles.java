package peers;

import java.util.Arrays;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** Quantiles by nearest rank, in microseconds by the name they are reported with. */
final class Quantiles {
    private static final Map<String, Double> NAMES = new LinkedHashMap<>();

    static {
        NAMES.put("p50", 0.5);
        NAMES.put("p90", 0.9);
        NAMES.put("p99", 0.99);
        NAMES.put("p999", 0.999);
        NAMES.put("max", 1.0);
    }

    private Quantiles() {}

    /** Without samples there are none. */
    static Map<String, Double> of(Samples samples) {
        long[] ordered = samples.toArray();
        Arrays.sort(ordered);
        Map<String, Double> found = new LinkedHashMap<>();
        if (ordered.length > 0) {
            NAMES.forEach(
                    (name, q) -> {
                        int rank = (int) Math.ceil(q * ordered.length) - 1;
                        found.put(name, micros(ordered[Math.max(0, rank)]));
                    });
        }
        return found;
    }

    /** Each group counts the same, however many samples it has. */
    static Map<String, Double> ofGroups(List<Samples> groups) {
        record Weighted(long nanos, double weight) {}
        List<Weighted> ordered =
                groups.stream()
                        .flatMap(
                                group ->
                                        Arrays.stream(group.toArray())
                                                .mapToObj(n -> new Weighted(n, 1.0 / group.size())))
                        .sorted(Comparator.comparingLong(Weighted::nanos))
                        .toList();
        double total = ordered.stream().mapToDouble(Weighted::weight).sum();
        Map<String, Double> found = new LinkedHashMap<>();
        if (ordered.isEmpty()) {
            return found;
        }
        NAMES.forEach(
                (name, q) -> {
                    double below = 0;
                    long nanos = ordered.get(ordered.size() - 1).nanos();
                    for (Weighted sample : ordered) {
                        below += sample.weight();
                        if (q < 1 && below >= q * total) {
                            nanos = sample.nanos();
                            break;
                        }
                    }
                    found.put(name, micros(nanos));
                });
        return found;
    }

    static double micros(double nanos) {
        return Math.round(nanos / 10) / 100.0;
    }
}
