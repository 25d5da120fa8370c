package redislock.internal;

import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

import redislock.LockEntry;
import redislock.LockInfo;

/** Turns what a link delivers into values. */
public final class Replies {
    private Replies() {}

    /** The fences of a grant, or null. */
    static long[] fences(Object reply) {
        if (reply == null) {
            return null;
        }
        if (reply instanceof List<?> list) {
            return list.stream().mapToLong(Replies::number).toArray();
        }
        return new long[] {number(reply)};
    }

    static long number(Object reply) {
        if (reply instanceof Long number) {
            return number;
        }
        if (reply instanceof byte[] digits) {
            return Long.parseLong(text(digits));
        }
        throw new IllegalStateException("the server answered " + describe(reply) + " where a number was due");
    }

    static List<?> list(Object reply) {
        if (reply instanceof List<?> list) {
            return list;
        }
        throw new IllegalStateException("the server answered " + describe(reply) + " where a list was due");
    }

    static String text(Object reply) {
        if (reply instanceof byte[] bytes) {
            return new String(bytes, StandardCharsets.UTF_8);
        }
        return String.valueOf(reply);
    }

    private static String describe(Object reply) {
        return reply instanceof byte[] ? "'" + text(reply) + "'" : String.valueOf(reply);
    }

    /** LOCK.INFO; null if the lock is free and nobody waits. */
    static LockInfo info(Object reply) {
        if (reply == null) {
            return null;
        }
        Map<String, Object> info = fields(reply);
        List<LockInfo.Holder> holders = new ArrayList<>();
        for (Object each : list(info.get("holders"))) {
            Map<String, Object> holder = fields(each);
            holders.add(new LockInfo.Holder(
                    text(holder.get("owner")),
                    number(holder, "fence"),
                    millis(holder, "ttl"),
                    millis(holder, "held"),
                    number(holder, "limit"),
                    number(holder, "session"),
                    number(holder, "weight"),
                    millis(holder, "max")));
        }
        return new LockInfo(
                text(info.get("mode")),
                number(info, "holders-count"),
                List.copyOf(holders),
                number(info, "waiters"),
                waiters(info.get("queue")),
                millis(info, "cooling"));
    }

    static LockEntry entry(Object reply) {
        Map<String, Object> entry = fields(reply);
        return new LockEntry(
                text(entry.get("key")),
                text(entry.get("mode")),
                text(entry.get("owner")),
                number(entry, "holders-count"),
                number(entry, "fence"),
                millis(entry, "ttl"),
                millis(entry, "held"),
                number(entry, "waiters"),
                millis(entry, "waited"),
                entry.get("queue") == null ? List.of() : waiters(entry.get("queue")));
    }

    private static List<LockInfo.Waiter> waiters(Object reply) {
        List<LockInfo.Waiter> waiters = new ArrayList<>();
        for (Object each : list(reply)) {
            Map<String, Object> waiter = fields(each);
            waiters.add(new LockInfo.Waiter(
                    text(waiter.get("owner")), text(waiter.get("mode")), millis(waiter, "waited"),
                    number(waiter, "client")));
        }
        return List.copyOf(waiters);
    }

    private static Map<String, Object> fields(Object reply) {
        List<?> flat = list(reply);
        Map<String, Object> fields = new HashMap<>();
        for (int i = 0; i + 1 < flat.size(); i += 2) {
            fields.put(text(flat.get(i)), flat.get(i + 1));
        }
        return fields;
    }

    /** Zero if the server does not tell it. */
    private static long number(Map<String, Object> fields, String name) {
        Object value = fields.get(name);
        return value == null ? 0 : number(value);
    }

    private static Duration millis(Map<String, Object> fields, String name) {
        return Duration.ofMillis(number(fields, name));
    }
}
