package redislock.internal;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;

/** What is asked for, in the server's units, and the commands for it. */
public record Request(
        List<String> keys,
        String owner,
        long leaseMs,
        Mode mode,
        long limit,
        long weight,
        boolean session,
        long maxMs,
        long delayMs,
        boolean multi) {
    /** How the lock is held. */
    public enum Mode {
        EXCLUSIVE,
        SHARED,
        COUNTED
    }

    /** The server takes a BLOCK up to this long at a time; then the client asks again. */
    static final long MAX_BLOCK_MS = 30L * 24 * 3600 * 1000;

    static final List<byte[]> ASKING = command("ASKING");

    static List<byte[]> command(Object... words) {
        List<byte[]> bytes = new ArrayList<>(words.length);
        for (Object word : words) {
            bytes.add(word instanceof byte[] raw ? raw : word.toString().getBytes(StandardCharsets.UTF_8));
        }
        return bytes;
    }

    /** For messages. */
    public String name() {
        return String.join(", ", keys);
    }

    /**
     * LOCK.ACQUIRE or LOCK.MACQUIRE.
     *
     * @param blockMs how long to wait in the server; 0: without limit; negative: not at all
     */
    List<byte[]> acquire(long blockMs) {
        List<Object> words = head("ACQUIRE");
        add(words, "PX", leaseMs);
        if (blockMs >= 0) {
            add(words, "BLOCK", Math.min(blockMs, MAX_BLOCK_MS));
        }
        if (mode != Mode.EXCLUSIVE) {
            words.add("SHARED");
        }
        if (mode == Mode.COUNTED) {
            add(words, "LIMIT", limit);
            if (weight != 1) {
                add(words, "WEIGHT", weight);
            }
        }
        if (session) {
            words.add("SESSION");
        }
        if (maxMs > 0) {
            add(words, "MAX", maxMs);
        }
        if (delayMs > 0) {
            add(words, "DELAY", delayMs);
        }
        return command(words.toArray());
    }

    /** Ends whatever this owner holds, and takes it out of the queue. */
    List<byte[]> release() {
        return command(head("RELEASE").toArray());
    }

    /** Ends this hold only. A request for several keys has no such thing, but an owner of its own. */
    List<byte[]> releaseHold(long fence, long coolMs) {
        List<Object> words = head("RELEASE");
        if (!multi) {
            add(words, "FENCE", fence);
            if (coolMs > 0) {
                add(words, "COOL", coolMs);
            }
        }
        return command(words.toArray());
    }

    List<byte[]> downgrade(long fence) {
        List<Object> words = head("RELEASE");
        add(words, "FENCE", fence);
        words.add("DOWNGRADE");
        return command(words.toArray());
    }

    List<byte[]> extend(long fence, long newLeaseMs) {
        List<Object> words = head("EXTEND");
        add(words, "PX", newLeaseMs);
        if (!multi) {
            add(words, "FENCE", fence);
        }
        return command(words.toArray());
    }

    List<List<byte[]>> checks(boolean waiters) {
        List<List<byte[]>> checks = new ArrayList<>(keys.size());
        for (String key : keys) {
            checks.add(waiters ? command("LOCK.CHECK", key, owner, "WAITERS") : command("LOCK.CHECK", key, owner));
        }
        return checks;
    }

    private List<Object> head(String verb) {
        List<Object> words = new ArrayList<>(16);
        if (multi) {
            add(words, "LOCK.M" + verb, keys.size());
            words.addAll(keys);
        } else {
            add(words, "LOCK." + verb, keys.get(0));
        }
        words.add(owner);
        return words;
    }

    private static void add(List<Object> words, String word, Object value) {
        words.add(word);
        words.add(value);
    }
}
