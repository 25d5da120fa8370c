package redislock.internal;

import static redislock.internal.Request.command;

import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.HashSet;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;

import redislock.spi.Endpoint;
import redislock.spi.Link;
import redislock.spi.LinkException;
import redislock.spi.LinkRequest.Purpose;
import redislock.spi.ReplyError;

/** One server: a connection for all commands, one to look after it, and one for each wait. */
final class Node {
    /** A monitor that has been silent for so many time-outs is replaced. */
    private static final int SILENT_MONITOR = 5;

    /** A request that has been without an answer for so many time-outs is late, whatever else is answered. */
    private static final int LATE = 1;

    /** So many acquisitions may be on their way on the shared connection. */
    private static final int TRIES = 8;

    /** A connection that has not been used for so long is closed. */
    private static final long IDLE = 30_000_000_000L;

    private record Idle(Link link, long since) {}

    final Endpoint endpoint;

    /** Acquisitions that are on their way on the shared connection. */
    final Gates<String> tries = new Gates<>(TRIES);

    /** What the keeper has to do here, and whether it is at it. Guarded by the keeper. */
    final Set<Keeper.Job> work = new LinkedHashSet<>();

    boolean working;

    private final Engine engine;
    private CompletableFuture<Channel> channel;
    private CompletableFuture<Channel> monitor;
    private final Deque<Idle> idle = new ArrayDeque<>();
    private final Set<Link> waiting = new HashSet<>();
    private boolean gone;
    private boolean tracking;
    private boolean trackingDenied;
    private CompletableFuture<Boolean> probe;
    private long probedAt = System.nanoTime() - 3_600_000_000_000L;
    private volatile Boolean verdict;

    /** The channel that was found silent although the server was alive, and since when. */
    private Channel suspect;

    private Long suspectSince;

    Node(Engine engine, Endpoint endpoint) {
        this.engine = engine;
        this.endpoint = endpoint;
    }

    /** The connection for all commands. One attempt to connect serves all who want it. */
    CompletableFuture<Channel> channel() {
        CompletableFuture<Channel> fresh;
        synchronized (this) {
            if (channel != null && isUsable(channel)) {
                return channel;
            }
            fresh = channel = new CompletableFuture<>();
            tracking = false;
        }
        connect(Purpose.COMMANDS, fresh);
        return fresh;
    }

    private CompletableFuture<Channel> monitor() {
        CompletableFuture<Channel> fresh;
        synchronized (this) {
            if (monitor != null && isUsable(monitor)) {
                return monitor;
            }
            fresh = monitor = new CompletableFuture<>();
            tracking = false;
        }
        connect(Purpose.MONITOR, fresh);
        return fresh;
    }

    private void connect(Purpose purpose, CompletableFuture<Channel> to) {
        open(purpose).whenComplete((link, error) -> {
            if (error != null) {
                to.completeExceptionally(error);
            } else if (!to.complete(new Channel(link))) {
                link.close("nobody waits for it any more");
            }
        });
    }

    private static boolean isUsable(CompletableFuture<Channel> future) {
        if (!future.isDone()) {
            return true;
        }
        return !future.isCompletedExceptionally() && future.join().link.isOpen();
    }

    /** A new connection. */
    private CompletableFuture<Link> open(Purpose purpose) {
        synchronized (this) {
            if (gone) {
                return CompletableFuture.failedFuture(new LinkException(endpoint + " is not used any more", null));
            }
        }
        boolean shared = purpose != Purpose.WAIT;
        CompletableFuture<Link> opened =
                engine.open(endpoint, purpose, this::invalidated, shared ? this::trackingLost : () -> {});
        return opened.thenApply(link -> {
            if (isGone()) {
                link.close("the server is not used any more");
            }
            return link;
        });
    }

    synchronized boolean isGone() {
        return gone;
    }

    /** A connection of one's own: an idle one, or a new one. */
    CompletableFuture<Link> borrow() {
        synchronized (this) {
            Idle last;
            while ((last = idle.pollLast()) != null) {
                if (last.link.isOpen()) {
                    waiting.add(last.link);
                    return CompletableFuture.completedFuture(last.link);
                }
            }
        }
        // A server that refuses connections is asked by one, and not by all that wait.
        return channel().thenCompose(reachable -> open(Purpose.WAIT)).thenApply(link -> {
            synchronized (this) {
                waiting.add(link);
            }
            return link;
        });
    }

    /** The link owes nothing. */
    void giveBack(Link link) {
        boolean keep;
        synchronized (this) {
            waiting.remove(link);
            keep = !gone && link.isOpen() && idle.size() < engine.options.maxIdle();
            if (keep) {
                idle.addLast(new Idle(link, System.nanoTime()));
            }
        }
        if (!keep) {
            link.close("it is not needed any more");
        }
    }

    void discard(Link link, String why) {
        synchronized (this) {
            waiting.remove(link);
        }
        link.close(why);
    }

    /** Whether it answered when it was last asked; null if it has not been asked. */
    Boolean verdict() {
        return verdict;
    }

    /** Looks after the connections. Called every half time-out. */
    void tick() {
        long now = System.nanoTime();
        long timeout = engine.options.requestTimeout().toNanos();
        Channel current;
        boolean waits;
        boolean recent;
        synchronized (this) {
            current = channel != null && channel.isDone() && isUsable(channel) ? channel.join() : null;
            waits = !waiting.isEmpty();
            recent = now - probedAt < engine.options.probeInterval().toNanos();
        }
        Long since = current == null ? null : current.silentSince();
        boolean silent = since != null && now - since > timeout;
        boolean late = current != null && current.age() > LATE * timeout;
        if (silent || late || waits && !recent) {
            probe().thenAccept(alive -> judge(alive, current, silent || late ? since : null));
        }
        dropIdle(now);
    }

    /** Closes the shared connection if the server is fine and the connection is not. */
    private void judge(boolean alive, Channel current, Long silentSince) {
        boolean again;
        Long before;
        synchronized (this) {
            again = alive && silentSince != null && current == suspect;
            before = suspectSince;
            suspect = alive && silentSince != null ? current : null;
            suspectSince = silentSince;
        }
        // Twice, so that what a server says that stood still for a while has the time to arrive.
        if (again) {
            boolean deaf = silentSince.equals(before) && silentSince.equals(current.silentSince());
            boolean late = current.age() > LATE * engine.options.requestTimeout().toNanos();
            if (deaf || late) {
                current.link.close(endpoint + " answers, but not on this connection");
            }
        }
        engine.router.look(this, alive);
    }

    private void dropIdle(long now) {
        List<Link> old = new ArrayList<>();
        synchronized (this) {
            while (!idle.isEmpty() && now - idle.peekFirst().since > IDLE) {
                old.add(idle.pollFirst().link);
            }
        }
        old.forEach(link -> link.close("it is not needed any more"));
    }

    /** Whether the server answers on another connection. One probe serves all who ask. */
    private CompletableFuture<Boolean> probe() {
        CompletableFuture<Boolean> fresh;
        synchronized (this) {
            if (probe != null) {
                return probe;
            }
            fresh = probe = new CompletableFuture<>();
        }
        long timeout = engine.options.requestTimeout().toNanos();
        CompletableFuture<Channel> asked = monitor();
        asked.thenCompose(watch -> watch.silentSince() != null
                        ? new CompletableFuture<>()
                        : watch.ask(command("PING")))
                .copy()
                .orTimeout(timeout, TimeUnit.NANOSECONDS)
                .whenComplete((pong, error) -> {
                    boolean alive = error == null && !(pong instanceof ReplyError);
                    synchronized (this) {
                        probe = null;
                        probedAt = System.nanoTime();
                        verdict = alive;
                    }
                    fresh.complete(alive);
                    if (!alive && asked.isDone() && !asked.isCompletedExceptionally()) {
                        replaceMonitor(asked.join(), timeout);
                    }
                });
        return fresh;
    }

    private void replaceMonitor(Channel watch, long timeout) {
        Long since = watch.silentSince();
        if (since != null && System.nanoTime() - since > SILENT_MONITOR * timeout) {
            watch.link.close(endpoint + " does not answer");
        }
    }

    synchronized boolean isTracking() {
        return tracking;
    }

    /** Asks to be told of changes. False if the server, the library or the user's rights do not allow it. */
    CompletableFuture<Boolean> track() {
        synchronized (this) {
            if (tracking || trackingDenied) {
                return CompletableFuture.completedFuture(tracking);
            }
        }
        return monitor().thenCombine(channel(), (watch, commands) -> {
            long id = watch.link.trackingId();
            if (id == 0) {
                return CompletableFuture.completedFuture(tracked(null, watch, commands));
            }
            return commands.ask(command("CLIENT", "TRACKING", "ON", "REDIRECT", id))
                    .thenApply(reply -> tracked(reply, watch, commands));
        }).thenCompose(answer -> answer);
    }

    private synchronized boolean tracked(Object reply, Channel watch, Channel commands) {
        if (reply == null || reply instanceof ReplyError) {
            trackingDenied = true;
            return false;
        }
        boolean current = channel != null && channel.getNow(null) == commands
                && monitor != null && monitor.getNow(null) == watch;
        tracking = current && watch.link.isOpen() && commands.link.isOpen();
        if (!tracking) {
            throw new LinkException(endpoint + " lost a connection", null);
        }
        return true;
    }

    private void trackingLost() {
        synchronized (this) {
            tracking = false;
        }
        engine.keeper.trackingLost(this);
    }

    private void invalidated(List<byte[]> keys) {
        engine.keeper.changed(keys);
    }

    /** Closes all connections, for ever: what waits here goes elsewhere. */
    void close(String why) {
        List<Link> all;
        synchronized (this) {
            gone = true;
            all = new ArrayList<>(waiting);
            idle.forEach(each -> all.add(each.link));
            waiting.clear();
            idle.clear();
        }
        closeShared(channel, why);
        closeShared(monitor, why);
        all.forEach(link -> link.close(why));
    }

    private static void closeShared(CompletableFuture<Channel> shared, String why) {
        if (shared != null) {
            shared.thenAccept(open -> open.link.close(why));
        }
    }
}
