package redislock.testing;

import java.util.ArrayDeque;
import java.util.Deque;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.function.Consumer;

/** A connection as the server sees it. */
final class Session {
    /** Stands for the reply that never comes, because the connection was closed. */
    static final Object CLOSED = new Object();

    final long id;
    final Consumer<List<byte[]>> onInvalidation;
    final Deque<Queued> queued = new ArrayDeque<>();
    final Set<String> tracked = new HashSet<>();
    volatile boolean closed;
    boolean ended;
    Runnable onClose = () -> {};
    Locks.Waiter waiting;

    /** Who is told of changes of what was looked at; 0: nobody. */
    long redirect;

    /** A command behind one that waits. */
    record Queued(List<byte[]> words, Consumer<Object> reply) {}

    Session(long id, Consumer<List<byte[]>> onInvalidation) {
        this.id = id;
        this.onInvalidation = onInvalidation;
    }
}
