package redislock.testing;

import java.nio.charset.StandardCharsets;
import java.nio.file.FileSystems;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;

import redislock.testing.Locks.Holder;
import redislock.testing.Locks.Lock;
import redislock.testing.Locks.Waiter;

/** The replies of INFO, LIST and TOP. */
final class Describing {
    private static final long MS = 1_000_000L;

    private Describing() {}

    static long waiters(Locks locks, String key) {
        return locks.waiters.stream().filter(waiter -> waiter.ask.keys.contains(key)).count();
    }

    static Object info(Locks locks, String key, long now) {
        Lock lock = locks.locks.get(key);
        long waiters = waiters(locks, key);
        if (lock == null && waiters == 0) {
            return null;
        }
        List<Object> holders = new ArrayList<>();
        if (lock != null) {
            lock.holders.values().stream().limit(100).forEach(holder -> holders.add(map(
                    "owner", holder.owner,
                    "fence", holder.fence,
                    "ttl", (holder.until - now) / MS,
                    "held", (now - holder.grantedAt) / MS,
                    "limit", holder.limit,
                    "session", holder.session == null ? 0L : holder.session.id,
                    "weight", holder.weight,
                    "max", holder.max == Long.MAX_VALUE ? 0L : (holder.max - now) / MS)));
        }
        return map(
                "mode", mode(lock),
                "holders-count", lock == null ? 0L : (long) lock.holders.size(),
                "holders", holders,
                "waiters", waiters,
                "queue", queue(locks, key, 10, now),
                "cooling", cooling(lock, now));
    }

    private static long cooling(Lock lock, long now) {
        return lock == null || lock.coolingUntil == 0 ? 0 : (lock.coolingUntil - now) / MS;
    }

    private static String mode(Lock lock) {
        if (lock == null) {
            return "free";
        }
        return lock.coolingUntil != 0 ? "cooling" : Commands.isShared(lock) ? "shared" : "exclusive";
    }

    private static List<Object> queue(Locks locks, String key, int most, long now) {
        List<Object> queue = new ArrayList<>();
        for (Waiter waiter : locks.waiters) {
            if (waiter.ask.keys.contains(key) && queue.size() < most) {
                queue.add(map(
                        "owner", waiter.ask.owner,
                        "mode", waiter.ask.shared ? "shared" : "exclusive",
                        "waited", (now - waiter.since) / MS,
                        "client", waiter.session.id));
            }
        }
        return queue;
    }

    static Object list(Locks locks, List<String> options, long now) {
        String pattern = null;
        String owner = null;
        for (int i = 0; i + 1 < options.size(); i += 2) {
            switch (options.get(i).toUpperCase(Locale.ROOT)) {
                case "MATCH" -> pattern = options.get(i + 1);
                case "OWNER" -> owner = options.get(i + 1);
                default -> {}
            }
        }
        List<Object> entries = new ArrayList<>();
        for (String key : locks.locks.keySet()) {
            Lock lock = locks.locks.get(key);
            boolean wanted = owner == null || lock.holders.containsKey(owner);
            if (wanted && (pattern == null || matches(pattern, key))) {
                entries.add(map(entry(locks, key, owner, now).toArray()));
            }
        }
        return List.of(bytes("0"), entries);
    }

    /** A glob of Redis is one of the JDK, except that it knows no braces and no directories. */
    private static boolean matches(String pattern, String key) {
        String glob = pattern.replace("{", "\\{").replace("}", "\\}").replace("[^", "[!").replace('/', '\u0001');
        return FileSystems.getDefault().getPathMatcher("glob:" + glob).matches(Path.of(key.replace('/', '\u0001')));
    }

    static Object top(Locks locks, int count, long now) {
        List<String> keys = new ArrayList<>(locks.locks.keySet());
        keys.removeIf(key -> waiters(locks, key) == 0);
        keys.sort((a, b) -> Long.compare(waiters(locks, b), waiters(locks, a)));
        List<Object> entries = new ArrayList<>();
        for (String key : keys.subList(0, Math.min(count, keys.size()))) {
            List<Object> entry = entry(locks, key, null, now);
            long waited = locks.waiters.stream()
                    .filter(waiter -> waiter.ask.keys.contains(key))
                    .mapToLong(waiter -> (now - waiter.since) / MS)
                    .max()
                    .orElse(0);
            entry.addAll(List.of("waited", waited, "queue", queue(locks, key, 3, now)));
            entries.add(map(entry.toArray()));
        }
        return entries;
    }

    private static List<Object> entry(Locks locks, String key, String owner, long now) {
        Lock lock = locks.locks.get(key);
        Holder shown = owner == null
                ? lock.holders.values().stream().findFirst().orElse(null)
                : lock.holders.get(owner);
        return new ArrayList<>(List.of(
                "key", key,
                "mode", mode(lock),
                "owner", shown == null ? "" : shown.owner,
                "holders-count", (long) lock.holders.size(),
                "fence", shown == null ? 0L : shown.fence,
                "ttl", shown == null ? cooling(lock, now) : (shown.until - now) / MS,
                "held", shown == null ? 0L : (now - shown.grantedAt) / MS,
                "waiters", waiters(locks, key)));
    }

    private static List<Object> map(Object... namesAndValues) {
        List<Object> flat = new ArrayList<>();
        for (Object each : namesAndValues) {
            flat.add(each instanceof String text ? bytes(text) : each);
        }
        return flat;
    }

    private static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }
}
