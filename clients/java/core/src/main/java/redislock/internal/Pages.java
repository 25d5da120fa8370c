package redislock.internal;

import static redislock.internal.Request.command;

import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.Deque;
import java.util.Iterator;
import java.util.List;
import java.util.NoSuchElementException;
import java.util.concurrent.CompletableFuture;

import redislock.LockEntry;
import redislock.LockInfo;

/** Reads LOCK.INFO, and the pages of LOCK.LIST from one primary after the other. */
public final class Pages implements Iterator<LockEntry> {
    private static final int PAGE = 100;

    private final String pattern;
    private final String owner;
    private final Deque<Engine.Target> left;
    private final Deque<LockEntry> page = new ArrayDeque<>();
    private String cursor = "0";

    /** Null conditions are none. */
    public Pages(Engine engine, String pattern, String owner) {
        this.pattern = pattern;
        this.owner = owner;
        this.left = new ArrayDeque<>(primaries(engine));
    }

    private static List<Engine.Target> primaries(Engine engine) {
        return Waits.uninterruptibly(engine.within(
                engine.primaries(), 5 * engine.options().requestTimeout().toNanos()));
    }

    /** What LOCK.INFO tells; null if the lock is free. */
    public static CompletableFuture<LockInfo> info(Engine engine, String key) {
        return engine.execute(engine.slot(key), command("LOCK.INFO", key)).thenApply(Replies::info);
    }

    /** The most contended locks of all primaries. */
    public static List<LockEntry> top(Engine engine, int count) {
        List<LockEntry> all = new ArrayList<>();
        for (Engine.Target target : primaries(engine)) {
            Object reply = Waits.uninterruptibly(target.ask(command("LOCK.TOP", "COUNT", count)));
            Replies.list(reply).forEach(entry -> all.add(Replies.entry(entry)));
        }
        all.sort(Comparator.comparingLong(LockEntry::waiters).reversed());
        return all.size() > count ? List.copyOf(all.subList(0, count)) : all;
    }

    @Override
    public boolean hasNext() {
        while (page.isEmpty() && !left.isEmpty()) {
            List<Object> words = new ArrayList<>(List.of("LOCK.LIST", cursor, "COUNT", PAGE));
            if (pattern != null) {
                words.addAll(List.of("MATCH", pattern));
            }
            if (owner != null) {
                words.addAll(List.of("OWNER", owner));
            }
            List<?> reply = Replies.list(Waits.uninterruptibly(left.peek().ask(command(words.toArray()))));
            cursor = Replies.text(reply.get(0));
            Replies.list(reply.get(1)).forEach(entry -> page.add(Replies.entry(entry)));
            if (cursor.equals("0")) {
                left.poll();
            }
        }
        return !page.isEmpty();
    }

    @Override
    public LockEntry next() {
        if (!hasNext()) {
            throw new NoSuchElementException();
        }
        return page.poll();
    }
}
