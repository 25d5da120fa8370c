package redislock.internal;

import static redislock.internal.Request.command;

import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CancellationException;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.atomic.AtomicBoolean;

import redislock.ClientClosedException;
import redislock.LockException;
import redislock.NotAcquiredException;
import redislock.NotDurableException;
import redislock.ServerException;
import redislock.UnreachableException;
import redislock.spi.Link;
import redislock.spi.LinkException;
import redislock.spi.ReplyError;

/**
 * One acquisition, from the first request to the hold or the error. It asks again until it is granted or the time is
 * over, whatever happens to the servers. However it ends without a hold, a {@link Withdrawal} follows what was sent.
 */
public final class Acquisition {
    private static final long FOREVER = Long.MAX_VALUE;

    /** How long a request waits for its turn on the shared connection. */
    private static final long TURN = 20_000_000L;

    private final Engine engine;
    private final Request request;
    private final Terms terms;
    private final int slot;
    private final CompletableFuture<HoldState> result = new CompletableFuture<>();
    private final long began = System.nanoTime();
    private final Backoff backoff;
    private Engine.Timer timer;
    private Gates<String>.Place gate;
    private Gates<String>.Place room;

    /** Whether a server refused it at once before: from then on it waits. */
    private boolean waits;

    private boolean ended;

    /** Whether it has got past the others of this process that wait for the same. */
    private boolean begun;

    private Node node;
    private Channel channel;
    private Link link;

    /** Whether the last request may have been, or may still be, granted; and whether it is not answered yet. */
    private boolean onWay;

    private boolean owed;

    /** Whether an earlier one may still arrive over a connection that was lost. */
    private boolean stray;

    private long sent;
    private ReplyError refusal;
    private Throwable trouble;

    /**
     * What the caller wants besides the lock.
     *
     * @param timeout nanoseconds; 0: do not wait; negative: without limit
     * @param renew whether the lease is renewed
     * @param durable how many replicas must confirm the grant
     * @param durableTimeout how long they may take
     * @param owned whether others use the owner too
     */
    public record Terms(long timeout, boolean renew, int durable, Duration durableTimeout, boolean owned) {}

    Acquisition(Engine engine, Request request, Terms terms) {
        this.engine = engine;
        this.request = request;
        this.terms = terms;
        this.slot = engine.slot(request.keys().get(0));
        this.backoff = engine.options.backoff(20, 1000);
    }

    /** The hold, or the error for the caller. */
    public CompletableFuture<HoldState> result() {
        return result;
    }

    void start() {
        long timeout = engine.options.requestTimeout().toNanos();
        if (terms.timeout() >= 0) {
            // The server ends a wait by itself, and its answer takes a moment.
            long limit = terms.timeout() + timeout;
            synchronized (this) {
                timer = engine.after(limit < 0 ? FOREVER : limit, this::expire);
            }
        }
        if (engine.options.shareWaits() && request.mode() != Request.Mode.SHARED && !request.multi()) {
            enter(engine.gates, request.keys().get(0), this::afterWithdrawal);
        } else {
            afterWithdrawal();
        }
    }

    private void enter(Gates<String> gates, String name, Runnable then) {
        // The place must be known before anything that follows can end this acquisition.
        CompletableFuture<Void> known = new CompletableFuture<>();
        Gates<String>.Place place = gates.enter(name, () -> known.thenRun(then));
        boolean late;
        synchronized (this) {
            late = ended;
            if (gates == engine.gates) {
                gate = place;
            } else {
                room = place;
            }
        }
        if (late) {
            place.leave();
        }
        known.complete(null);
    }

    /** An earlier withdrawal of the same owner would end the new hold. */
    private void afterWithdrawal() {
        if (terms.owned() && engine.isSettling(request)) {
            engine.after(10_000_000L, this::afterWithdrawal);
        } else {
            step();
        }
    }

    private long left() {
        return terms.timeout() < 0 ? FOREVER : terms.timeout() - (System.nanoTime() - began);
    }

    private void step() {
        synchronized (this) {
            if (ended) {
                return;
            }
            begun = true;
            waits |= request.session() || terms.durable() > 0;
            if (waits && room == null) {
                // Outside of the lock, and then here again.
                engine.run(() -> enter(engine.rooms, "", this::step));
                return;
            }
        }
        engine.router.node(slot).whenComplete((found, error) -> {
            if (error != null) {
                failed(error);
            } else {
                ask(found, false);
            }
        });
    }

    private void ask(Node at, boolean asking) {
        if (!isWaiting()) {
            takeTurn(at, asking);
            return;
        }
        at.borrow().whenComplete((open, error) -> {
            if (error != null) {
                engine.router.doubt(at);
                failed(error);
            } else if (send(at, null, open, asking) == null) {
                at.giveBack(open);
            }
        });
    }

    /**
     * On the shared connection only some are on their way at a time. Who does not get a turn soon, because the network
     * or the server is slow, takes a connection of its own, and may as well wait there.
     */
    private void takeTurn(Node at, boolean asking) {
        AtomicBoolean decided = new AtomicBoolean();
        CompletableFuture<Gates<String>.Place> known = new CompletableFuture<>();
        Gates<String>.Place place = at.tries.enter("", () -> known.thenAccept(turn -> {
            if (decided.compareAndSet(false, true)) {
                tryShared(at, asking, turn);
            } else {
                turn.leave();
            }
        }));
        known.complete(place);
        if (!decided.get()) {
            engine.after(TURN, () -> {
                if (decided.compareAndSet(false, true)) {
                    place.leave();
                    synchronized (this) {
                        waits = true;
                    }
                    step();
                }
            });
        }
    }

    private void tryShared(Node at, boolean asking, Gates<String>.Place turn) {
        at.channel().whenComplete((open, error) -> {
            if (error != null) {
                turn.leave();
                engine.router.doubt(at);
                failed(error);
            } else {
                CompletableFuture<List<Object>> answer = send(at, open, null, asking);
                if (answer == null) {
                    turn.leave();
                } else {
                    answer.whenComplete((replies, lost) -> turn.leave());
                }
            }
        });
    }

    private synchronized boolean isWaiting() {
        return waits;
    }

    /** Null if it has ended, and nothing was sent. */
    private CompletableFuture<List<Object>> send(Node at, Channel shared, Link own, boolean asking) {
        synchronized (this) {
            if (ended) {
                return null;
            }
            List<List<byte[]>> commands = new ArrayList<>(2);
            if (asking) {
                commands.add(Request.ASKING);
            }
            commands.add(request.acquire(own == null ? -1 : blockMs()));
            node = at;
            channel = shared;
            link = own;
            onWay = true;
            owed = true;
            sent = engine.clock.now();
            CompletableFuture<List<Object>> replies = own == null ? shared.send(commands) : own.send(commands);
            replies.whenComplete((all, error) -> {
                if (error != null) {
                    lost(at, own, error);
                } else {
                    answered(at, own, all.get(all.size() - 1));
                }
            });
            return replies;
        }
    }

    private long blockMs() {
        long left = left();
        return left == FOREVER ? 0 : left <= 0 ? -1 : Math.max(1, (left + 999_999) / 1_000_000);
    }

    private void lost(Node at, Link own, Throwable error) {
        synchronized (this) {
            if (ended) {
                return;
            }
            stray = true;
            onWay = owed = false;
            link = null;
            channel = null;
        }
        if (own != null) {
            at.discard(own, "it failed");
        }
        engine.router.doubt(at);
        failed(error);
    }

    private void answered(Node at, Link own, Object reply) {
        ReplyError error = reply instanceof ReplyError refused ? refused : null;
        synchronized (this) {
            if (ended) {
                return;
            }
            owed = false;
            // With UNBLOCKED it may have been granted the moment before.
            onWay = error == null ? reply != null : error.code().equals("UNBLOCKED");
            trouble = null;
            refusal = error;
            if (error == null && reply != null) {
                trouble = null;
            } else if (own != null) {
                link = null;
                stray |= onWay;
                onWay = false;
            }
        }
        if (error == null && reply != null) {
            engine.guard(() -> granted(Replies.fences(reply)), this::end);
            return;
        }
        if (own != null) {
            at.giveBack(own);
        }
        if (error == null) {
            refused();
        } else if (!Faults.passes(error)) {
            end(ServerException.of(error.text()));
        } else {
            Node other = engine.redirect(at, error);
            if (other != null) {
                ask(other, true);
            } else {
                again(error.code().equals("MOVED") ? 1_000_000L : backoff.pause());
            }
        }
    }

    private void refused() {
        if (left() <= 0) {
            end(new NotAcquiredException("others held " + request.name() + tooLong()));
            return;
        }
        synchronized (this) {
            waits = true;
        }
        step();
    }

    private String tooLong() {
        return terms.timeout() == 0 ? "" : " for all of " + Duration.ofNanos(terms.timeout()).toMillis() + " ms";
    }

    private void failed(Throwable error) {
        Throwable cause = Faults.unwrap(error);
        if (engine.isClosed()) {
            end(new ClientClosedException("the client was closed while " + request.name() + " was waited for"));
            return;
        }
        if (!(cause instanceof LinkException)) {
            end(cause);
            return;
        }
        ReplyError login = Faults.refusedLogin(cause);
        if (login != null) {
            end(ServerException.of(login.text()));
            return;
        }
        synchronized (this) {
            trouble = cause;
            refusal = null;
        }
        again(backoff.pause());
    }

    private void again(long pause) {
        // A caller that does not wait is still owed an answer.
        long patience = Math.max(left(), engine.options.requestTimeout().toNanos() - (System.nanoTime() - began));
        if (patience <= 0) {
            expire();
        } else {
            engine.after(Math.min(pause, patience), this::step);
        }
    }

    /** The caller's time is over, and no server has said that it was refused. */
    private void expire() {
        LockException why;
        synchronized (this) {
            String name = request.name() + " was not acquired in " + Math.max(0, terms.timeout()) / 1_000_000 + " ms";
            if (refusal != null) {
                why = ServerException.of(refusal.text());
            } else if (trouble != null) {
                why = new UnreachableException(name + ": " + trouble.getMessage());
            } else if (!begun || node != null && !owed) {
                why = new NotAcquiredException(name + ": others of this process waited for it");
            } else if (node == null || owed && Boolean.FALSE.equals(node.verdict())) {
                why = new UnreachableException(name + ": " + (node == null ? "there is no connection to its server yet"
                        : node.endpoint + " does not answer"));
            } else {
                why = new NotAcquiredException(name + ": its server has not answered");
            }
        }
        end(why);
    }

    // After the grant.

    private void granted(long[] fences) {
        HoldState hold = new HoldState(request, fences, engine.clock, sent, terms.renew(), slot);
        // The lease began with the grant, at some time since the request was sent.
        boolean late = engine.clock.now() - sent > request.leaseMs() * 1_000_000L / 4;
        (late ? measure(hold) : CompletableFuture.<Void>completedFuture(null))
                .thenCompose(done -> terms.durable() > 0 ? confirm(hold) : CompletableFuture.completedFuture(null))
                .whenComplete((done, error) -> {
                    if (error != null) {
                        end(Faults.unwrap(error));
                    } else {
                        finish(hold);
                    }
                });
    }

    /** After a long wait the server says how much of the lease is left. */
    private CompletableFuture<Void> measure(HoldState hold) {
        long asked = engine.clock.now();
        long version = hold.version();
        return engine.all(slot, request.checks(false), 5 * engine.options.requestTimeout().toNanos())
                .thenAccept(replies -> {
                    if (!hold.learn(replies, asked, version)) {
                        hold.lose(redislock.LossReason.GONE);
                        throw hold.error();
                    }
                    if (request.maxMs() > 0) {
                        // It began at most this long ago.
                        long age = Math.max(0, request.leaseMs() * 1_000_000L - (hold.until() - asked));
                        hold.bound(asked - age + request.maxMs() * 1_000_000L);
                    }
                });
    }

    /** Waits until enough replicas have the grant, on the connection of the grant, so that it counts them. */
    private CompletableFuture<Void> confirm(HoldState hold) {
        long ms = Math.max(1, terms.durableTimeout().toMillis());
        Link own;
        synchronized (this) {
            own = link;
        }
        String what = request.name() + ": ";
        if (own == null) {
            return CompletableFuture.failedFuture(
                    new NotDurableException(what + "its connection was lost", 0, terms.durable()));
        }
        return engine.within(own.send(List.of(command("WAIT", terms.durable(), ms))),
                        ms * 1_000_000L + engine.options.requestTimeout().toNanos())
                .handle((replies, error) -> {
                    if (error != null) {
                        throw new NotDurableException(
                                what + "its server did not answer", 0, terms.durable());
                    }
                    if (replies.get(0) instanceof ReplyError refused) {
                        throw ServerException.of(refused.text());
                    }
                    int confirmed = (int) Replies.number(replies.get(0));
                    if (confirmed < terms.durable()) {
                        throw new NotDurableException(what + confirmed + " of " + terms.durable()
                                + " replicas confirmed the grant in " + ms + " ms", confirmed, terms.durable());
                    }
                    hold.requireHeld();
                    return null;
                });
    }

    private void finish(HoldState hold) {
        Link free = null;
        synchronized (this) {
            if (ended) {
                return;
            }
            ended = true;
            hold.stray = stray;
            if (request.session()) {
                hold.link = link;
                hold.node = node;
            } else {
                free = link;
            }
        }
        leave();
        if (free != null) {
            node.giveBack(free);
        }
        engine.keeper.add(hold);
        engine.tell(listener -> listener.acquired(request.keys(), request.owner(), waited()));
        if (!result.complete(hold)) {
            engine.release(hold, 0);
        } else if (engine.isClosed() && hold.lose(redislock.LossReason.CLOSED)) {
            engine.giveUp(hold);
        }
    }

    // The end without a hold.

    /** The caller does not want it any more. */
    public void cancel() {
        end(new CancellationException(request.name() + " is not wanted any more"));
    }

    void end(Throwable why) {
        boolean follow;
        synchronized (this) {
            if (ended) {
                return;
            }
            ended = true;
            follow = onWay;
        }
        leave();
        if (follow && link != null) {
            Withdrawal.behind(engine, request, node, link, owed, stray);
        } else if (follow && channel != null) {
            Withdrawal.behind(engine, request, channel, stray);
        } else if (follow || stray) {
            Withdrawal.elsewhere(engine, request);
        } else if (link != null) {
            node.giveBack(link);
        }
        engine.tell(listener -> listener.refused(request.keys(), request.owner(), waited(), why));
        result.completeExceptionally(why);
    }

    private void leave() {
        engine.acquisitions.remove(this);
        Gates<String>.Place first;
        Gates<String>.Place second;
        Engine.Timer limit;
        synchronized (this) {
            first = room;
            second = gate;
            limit = timer;
        }
        if (limit != null) {
            limit.cancel();
        }
        if (first != null) {
            first.leave();
        }
        if (second != null) {
            second.leave();
        }
    }

    private Duration waited() {
        return Duration.ofNanos(System.nanoTime() - began);
    }
}
