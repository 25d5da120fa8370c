package redislock.internal;

import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;

import redislock.ClientClosedException;
import redislock.LockException;
import redislock.ServerException;
import redislock.UnreachableException;
import redislock.spi.ReplyError;

/**
 * One command that may be sent twice, on the connection for all commands of the primary, until it is answered or the
 * time is over.
 */
final class Call {
    private final Engine engine;
    private final int slot;
    private final List<byte[]> command;
    private final long deadline;
    private final CompletableFuture<Object> result = new CompletableFuture<>();
    private final Backoff backoff;
    private volatile int sends;
    private volatile Throwable trouble;
    private volatile ReplyError refusal;

    private Call(Engine engine, int slot, List<byte[]> command, long nanos) {
        this.engine = engine;
        this.slot = slot;
        this.command = command;
        this.deadline = System.nanoTime() + nanos;
        this.backoff = engine.options.backoff(20, 1000);
    }

    /**
     * What the server answered.
     *
     * @param value the reply
     * @param sends how often the command was sent
     */
    record Answer(Object value, int sends) {}

    /** Fails with UnreachableException, or with what the server said. */
    static CompletableFuture<Answer> run(Engine engine, int slot, List<byte[]> command, long nanos) {
        Call call = new Call(engine, slot, command, nanos);
        Engine.Timer timer = engine.after(nanos, call::expire);
        call.step();
        return call.result.whenComplete((reply, error) -> timer.cancel())
                .thenApply(reply -> new Answer(reply, call.sends));
    }

    private void step() {
        if (result.isDone()) {
            return;
        }
        if (engine.isAborted()) {
            result.completeExceptionally(new ClientClosedException("the client is closed"));
            return;
        }
        engine.router.node(slot).whenComplete((node, error) -> {
            if (error != null) {
                failed(error);
            } else {
                ask(node, false);
            }
        });
    }

    private void ask(Node node, boolean asking) {
        node.channel().whenComplete((channel, refused) -> {
            if (refused != null) {
                engine.router.doubt(node);
                failed(refused);
            } else if (!result.isDone()) {
                List<List<byte[]>> commands = new ArrayList<>(2);
                if (asking) {
                    commands.add(Request.ASKING);
                }
                commands.add(command);
                sends++;
                channel.send(commands).whenComplete((replies, error) -> {
                    if (error != null) {
                        engine.router.doubt(node);
                        failed(error);
                    } else {
                        answered(node, replies.get(replies.size() - 1));
                    }
                });
            }
        });
    }

    private void answered(Node node, Object reply) {
        if (!(reply instanceof ReplyError error)) {
            result.complete(reply);
        } else if (!Faults.passes(error)) {
            result.completeExceptionally(ServerException.of(error.text()));
        } else {
            refusal = error;
            Node other = engine.redirect(node, error);
            if (other != null) {
                ask(other, true);
            } else if (error.code().equals("MOVED")) {
                again(1_000_000L);
            } else {
                again(backoff.pause());
            }
        }
    }

    private void failed(Throwable error) {
        trouble = Faults.unwrap(error);
        ReplyError login = Faults.refusedLogin(trouble);
        if (login != null) {
            result.completeExceptionally(ServerException.of(login.text()));
            return;
        }
        refusal = null;
        again(backoff.pause());
    }

    private void again(long pause) {
        if (!result.isDone() && System.nanoTime() + pause < deadline) {
            engine.after(pause, this::step);
        }
    }

    private void expire() {
        ReplyError said = refusal;
        LockException error = said != null
                ? ServerException.of(said.text())
                : new UnreachableException("the server did not answer in time"
                        + (trouble == null ? "" : ": " + trouble.getMessage()));
        result.completeExceptionally(error);
    }
}
