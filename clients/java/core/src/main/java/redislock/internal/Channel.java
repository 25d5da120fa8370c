package redislock.internal;

import java.util.ArrayDeque;
import java.util.Deque;
import java.util.List;
import java.util.concurrent.CompletableFuture;

import redislock.spi.Link;

/** A link that many share, and how long the server has owed it an answer. */
final class Channel {
    final Link link;
    private final Deque<Long> sentAt = new ArrayDeque<>();
    private long progressAt = System.nanoTime();

    Channel(Link link) {
        this.link = link;
    }

    CompletableFuture<List<Object>> send(List<List<byte[]>> commands) {
        synchronized (this) {
            long now = System.nanoTime();
            if (sentAt.isEmpty()) {
                progressAt = now;
            }
            sentAt.addLast(now);
        }
        return link.send(commands).whenComplete((replies, error) -> {
            synchronized (this) {
                sentAt.pollFirst();
                progressAt = System.nanoTime();
            }
        });
    }

    CompletableFuture<Object> ask(List<byte[]> command) {
        return send(List.of(command)).thenApply(replies -> replies.get(0));
    }

    /** Since when nothing has come although something is owed; null if nothing is owed. */
    synchronized Long silentSince() {
        return sentAt.isEmpty() ? null : progressAt;
    }

    /** How long the oldest request has been without an answer, in nanoseconds. */
    synchronized long age() {
        return sentAt.isEmpty() ? 0 : System.nanoTime() - sentAt.peekFirst();
    }
}
