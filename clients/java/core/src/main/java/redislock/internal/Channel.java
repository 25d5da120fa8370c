package redislock.internal;

import java.util.List;
import java.util.concurrent.CompletableFuture;

import redislock.spi.Link;

/** A link that many share, and how long the server has owed it an answer. */
final class Channel {
    final Link link;
    private int owed;
    private long progressAt = System.nanoTime();

    Channel(Link link) {
        this.link = link;
    }

    CompletableFuture<List<Object>> send(List<List<byte[]>> commands) {
        synchronized (this) {
            if (owed++ == 0) {
                progressAt = System.nanoTime();
            }
        }
        return link.send(commands).whenComplete((replies, error) -> {
            synchronized (this) {
                owed--;
                progressAt = System.nanoTime();
            }
        });
    }

    CompletableFuture<Object> ask(List<byte[]> command) {
        return send(List.of(command)).thenApply(replies -> replies.get(0));
    }

    /** Since when nothing has come although something is owed; null if nothing is owed. */
    synchronized Long silentSince() {
        return owed == 0 ? null : progressAt;
    }
}
