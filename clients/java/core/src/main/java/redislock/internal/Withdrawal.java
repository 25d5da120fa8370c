package redislock.internal;

import java.util.List;
import java.util.concurrent.CompletableFuture;

import redislock.spi.Link;

/**
 * Takes back what an acquisition may have got or may still get, in the background. LOCK.RELEASE goes behind the ACQUIRE
 * on its own connection, so that it cannot overtake it. If that connection fails, the RELEASE is repeated elsewhere
 * until nothing that was sent before can arrive after it. The lease bounds all of it.
 */
final class Withdrawal {
    /** After a connection broke, what was on its way may still arrive at the server for so long. */
    private static final long SETTLE = 10_000_000_000L;

    private final Engine engine;
    private final Request request;
    private final int slot;
    private final long end;
    private final CompletableFuture<Void> done = new CompletableFuture<>();

    private Withdrawal(Engine engine, Request request) {
        this.engine = engine;
        this.request = request;
        this.slot = engine.slot(request.keys().get(0));
        // From now on, because a request that waits may be granted a little later.
        this.end = System.nanoTime() + request.leaseMs() * 1_000_000L;
        engine.settling(request, done);
        Engine.Timer bound = engine.after(request.leaseMs() * 1_000_000L, () -> done.complete(null));
        done.whenComplete((nothing, error) -> bound.cancel());
    }

    /** An ACQUIRE is on its way, or was answered, on a connection of its own. */
    static void behind(Engine engine, Request request, Node node, Link link, boolean owed, boolean stray) {
        Withdrawal withdrawal = new Withdrawal(engine, request);
        if (!link.isOpen()) {
            withdrawal.repeat();
            return;
        }
        CompletableFuture<List<Object>> answer = link.send(List.of(request.release()));
        answer.whenComplete((replies, error) -> {
            if (error == null) {
                node.giveBack(link);
                withdrawal.settled(stray);
            } else {
                node.discard(link, "it failed");
                withdrawal.repeat();
            }
        });
        if (owed) {
            // A client that waits is served nothing else. So the wait is ended from another connection.
            withdrawal.nudge(node, link, answer, engine.options.backoff(50, 1000));
            withdrawal.done.whenComplete((nothing, error) -> {
                if (!answer.isDone()) {
                    node.discard(link, "an abandoned wait was not answered");
                }
            });
        }
    }

    /** An ACQUIRE is on its way, or was answered, on the connection for all commands. */
    static void behind(Engine engine, Request request, Channel channel, boolean stray) {
        Withdrawal withdrawal = new Withdrawal(engine, request);
        if (!channel.link.isOpen()) {
            withdrawal.repeat();
            return;
        }
        channel.send(List.of(request.release())).whenComplete((replies, error) -> {
            if (error == null) {
                withdrawal.settled(stray);
            } else {
                withdrawal.repeat();
            }
        });
    }

    /** An ACQUIRE may be on its way over a connection that was lost. */
    static void elsewhere(Engine engine, Request request) {
        new Withdrawal(engine, request).repeat();
    }

    /** A release that the caller no longer waits for. */
    static void repeated(Engine engine, Request request, List<byte[]> command) {
        Withdrawal withdrawal = new Withdrawal(engine, request);
        withdrawal.repeat(command, engine.options.backoff(100, 1000), Long.MAX_VALUE);
    }

    /** A release at the end of a client: once is enough, if it is answered. */
    static void repeatedOnce(Engine engine, Request request, List<byte[]> command) {
        Withdrawal withdrawal = new Withdrawal(engine, request);
        Call.run(engine, withdrawal.slot, command, 2 * engine.options.requestTimeout().toNanos())
                .whenComplete((reply, error) -> withdrawal.done.complete(null));
    }

    private void settled(boolean stray) {
        if (stray) {
            repeat();
        } else {
            done.complete(null);
        }
    }

    private void nudge(Node node, Link link, CompletableFuture<List<Object>> answer, Backoff backoff) {
        if (answer.isDone()) {
            return;
        }
        if (node.isGone() || done.isDone()) {
            return;
        }
        node.channel().thenCompose(channel -> channel.ask(request.release())).whenComplete((reply, error) ->
                engine.after(backoff.pause(), () -> nudge(node, link, answer, backoff)));
    }

    private void repeat() {
        repeat(request.release(), engine.options.backoff(100, 1000), Long.MAX_VALUE);
    }

    /** Again and again, until it has been answered for long enough. */
    private void repeat(List<byte[]> command, Backoff backoff, long answeredAt) {
        long left = end - System.nanoTime();
        if (left <= 0 || engine.isAborted()) {
            done.complete(null);
            return;
        }
        Call.run(engine, slot, command, Math.min(left, 2 * engine.options.requestTimeout().toNanos()))
                .whenComplete((reply, error) -> {
                    long now = System.nanoTime();
                    long since = error != null ? Long.MAX_VALUE : Math.min(answeredAt, now);
                    if (error == null && now - since >= SETTLE) {
                        done.complete(null);
                    } else {
                        engine.after(Math.min(backoff.pause(), Math.max(1, end - now)),
                                () -> repeat(command, backoff, since));
                    }
                });
    }
}
