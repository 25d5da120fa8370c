package redislock.internal;

import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.Future;
import java.util.concurrent.RejectedExecutionException;
import java.util.concurrent.ScheduledThreadPoolExecutor;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLong;
import java.util.function.Consumer;

import redislock.Check;
import redislock.ClientClosedException;
import redislock.LockException;
import redislock.LockListener;
import redislock.LossReason;
import redislock.UnreachableException;
import redislock.spi.Connector;
import redislock.spi.Deployment;
import redislock.spi.Endpoint;
import redislock.spi.Link;
import redislock.spi.LinkException;
import redislock.spi.LinkRequest;
import redislock.spi.LinkRequest.Purpose;
import redislock.spi.ReplyError;

/** What is behind a client: the servers, the timer, and all that goes on at a time. */
public final class Engine {
    static final System.Logger LOG = System.getLogger("redislock");

    final Connector connector;
    final Options options;
    final LeaseClock clock;
    final Router router;
    final Keeper keeper;
    final Gates<String> gates = new Gates<>(1);
    final Gates<String> rooms;
    final Set<Acquisition> acquisitions = ConcurrentHashMap.newKeySet();

    private final Identity identity;
    private final String clientName;
    private final boolean cluster;
    private final ScheduledThreadPoolExecutor timer;
    private final Map<Endpoint, Node> nodes = new ConcurrentHashMap<>();
    private final Map<String, Integer> settling = new HashMap<>();
    private final AtomicInteger unsettled = new AtomicInteger();
    private final AtomicLong opened = new AtomicLong();
    private volatile boolean closed;
    private volatile boolean aborted;

    /** Something that will be done later, unless it is cancelled. */
    interface Timer {
        void cancel();
    }

    /**
     * Starts nothing but a timer.
     *
     * @param connector opens connections; closed with the engine
     * @param options the settings
     */
    public Engine(Connector connector, Options options) {
        this.connector = connector;
        this.options = options;
        this.clock = options.clock();
        this.identity = new Identity(options.label());
        this.clientName = identity.clientName();
        this.rooms = new Gates<>(options.maxWaits());
        this.timer = new ScheduledThreadPoolExecutor(1, task -> {
            Thread thread = new Thread(task, "redis-lock");
            thread.setDaemon(true);
            return thread;
        });
        timer.setRemoveOnCancelPolicy(true);
        timer.setExecuteExistingDelayedTasksAfterShutdownPolicy(false);
        this.keeper = new Keeper(this);
        Deployment deployment = connector.deployment();
        this.cluster = deployment.kind() == Deployment.Kind.CLUSTER;
        this.router = switch (deployment.kind()) {
            case SINGLE -> new Router.Single(nodeAt(connector.translate(deployment.endpoints().get(0))));
            case SENTINEL -> new SentinelRouter(this, deployment);
            case CLUSTER -> new ClusterRouter(this, deployment);
        };
        long half = Math.max(1, options.requestTimeout().toNanos() / 2);
        timer.scheduleWithFixedDelay(
                () -> guard(() -> nodes.values().forEach(Node::tick), error -> {}), half, half, TimeUnit.NANOSECONDS);
    }

    /** Begins an acquisition. */
    public Acquisition acquire(Request request, Acquisition.Terms terms) {
        Acquisition acquisition = new Acquisition(this, request, terms);
        acquisitions.add(acquisition);
        if (closed) {
            acquisition.end(new ClientClosedException("the client is closed"));
        } else {
            guard(acquisition::start, acquisition::end);
        }
        return acquisition;
    }

    /** A new owner, as LOCK.INFO will show it. */
    public String newOwner() {
        return identity.newOwner();
    }

    // What a hold does.

    /**
     * Releases. True if it was held, false if it had ended before, null if nobody answered in time: then it is repeated
     * in the background until the lease is over.
     */
    public CompletableFuture<Boolean> release(HoldState hold, long coolMs) {
        boolean ended = !hold.finish();
        keeper.remove(hold);
        if (aborted) {
            return CompletableFuture.completedFuture(ended ? Boolean.FALSE : null);
        }
        Request request = hold.request;
        List<byte[]> command = request.releaseHold(hold.fence, coolMs);
        // A hold that ended before may still be there, if only this process's clock said so.
        CompletableFuture<Boolean> answer = Call.run(this, hold.slot, command, options.requestTimeout().toNanos())
                .handle((reply, error) -> {
                    freeSession(hold);
                    if (hold.stray) {
                        Withdrawal.elsewhere(this, request);
                    }
                    if (error == null) {
                        // A second one finds nothing, if the reply to the first was lost.
                        boolean held = Replies.number(reply.value()) > 0;
                        return held ? Boolean.TRUE : reply.sends() > 1 ? null : Boolean.FALSE;
                    }
                    Throwable cause = Faults.unwrap(error);
                    LOG.log(System.Logger.Level.WARNING, "the release of {0} goes on in the background: {1}",
                            request.name(), cause.getMessage());
                    Withdrawal.repeated(this, request, command);
                    if (cause instanceof UnreachableException || cause instanceof ClientClosedException) {
                        return null;
                    }
                    throw cause instanceof RuntimeException known ? known : new LockException(cause.toString());
                });
        if (!ended) {
            tell(listener -> listener.released(
                    request.keys(), request.owner(), Duration.ofNanos(clock.now() - hold.grantedAt)));
        }
        return ended ? answer.handle((reply, error) -> false) : answer;
    }

    private void freeSession(HoldState hold) {
        Link link = hold.link;
        hold.link = null;
        if (link != null) {
            hold.node.giveBack(link);
        }
    }

    /** The client was closed: the hold is given back, and its owner was told. */
    void giveUp(HoldState hold) {
        keeper.remove(hold);
        told(hold, LossReason.CLOSED);
        Withdrawal.repeatedOnce(this, hold.request, hold.request.releaseHold(hold.fence, 0));
    }

    /** Gives the hold a new lease. Fails with NotHeldException if it had ended. */
    public CompletableFuture<Void> extend(HoldState hold, long leaseMs) {
        hold.requireHeld();
        long sent = clock.now();
        // While it is held, trying goes on.
        long patience = Math.max(options.requestTimeout().toNanos(), Math.min(hold.remaining(), 30_000_000_000L));
        return Call.run(this, hold.slot, hold.request.extend(hold.fence, leaseMs), patience).thenAccept(reply -> {
            if (Replies.number(reply.value()) != (hold.request.multi() ? hold.request.keys().size() : 1)) {
                keeper.lose(hold, LossReason.GONE);
                throw hold.error();
            }
            hold.extended(sent, leaseMs);
            keeper.leaseChanged(hold);
        });
    }

    /** Asks the server. Null if it says that the hold has ended; then the loss is told. */
    public CompletableFuture<Check> check(HoldState hold) {
        long sent = clock.now();
        long version = hold.version();
        return all(hold.slot, hold.request.checks(true), 5 * options.requestTimeout().toNanos()).thenApply(replies -> {
            if (!hold.learn(replies, sent, version)) {
                keeper.lose(hold, LossReason.GONE);
                return null;
            }
            long left = Long.MAX_VALUE;
            long waiters = 0;
            for (Object each : replies) {
                List<?> reply = Replies.list(each);
                left = Math.min(left, Replies.number(reply.get(1)));
                waiters += Replies.number(reply.get(2));
            }
            return new Check(hold.fence, Duration.ofMillis(left), waiters);
        });
    }

    /** Makes an exclusive hold a shared one. */
    public CompletableFuture<Void> downgrade(HoldState hold) {
        hold.requireHeld();
        return execute(hold.slot, hold.request.downgrade(hold.fence)).thenAccept(reply -> {
            if (Replies.number(reply) == 0) {
                keeper.lose(hold, LossReason.GONE);
                throw hold.error();
            }
        });
    }

    // Other commands.

    /** One command to the primary of the slot. */
    public CompletableFuture<Object> execute(int slot, List<byte[]> command) {
        if (closed) {
            return CompletableFuture.failedFuture(new ClientClosedException("the client is closed"));
        }
        return Call.run(this, slot, command, 5 * options.requestTimeout().toNanos()).thenApply(Call.Answer::value);
    }

    CompletableFuture<List<Object>> all(int slot, List<List<byte[]>> commands, long nanos) {
        List<CompletableFuture<Call.Answer>> calls = new ArrayList<>();
        commands.forEach(command -> calls.add(Call.run(this, slot, command, nanos)));
        return CompletableFuture.allOf(calls.toArray(CompletableFuture[]::new)).thenApply(done -> {
            List<Object> replies = new ArrayList<>();
            calls.forEach(call -> replies.add(call.join().value()));
            return replies;
        });
    }

    /** The primaries, as far as they are known. */
    public CompletableFuture<List<Target>> primaries() {
        return router.primaries().thenApply(all -> all.stream().map(node -> new Target(this, node)).toList());
    }

    /** One primary. */
    public static final class Target {
        private final Engine engine;
        private final Node node;

        private Target(Engine engine, Node node) {
            this.engine = engine;
            this.node = node;
        }

        /** One command to this server. */
        public CompletableFuture<Object> ask(List<byte[]> command) {
            CompletableFuture<Object> answer = node.channel().thenCompose(channel -> channel.ask(command));
            return engine.within(answer, 5 * engine.options.requestTimeout().toNanos()).thenApply(reply -> {
                if (reply instanceof ReplyError error) {
                    throw redislock.ServerException.of(error.text());
                }
                return reply;
            });
        }
    }

    // Servers.

    CompletableFuture<Link> open(
            Endpoint endpoint, Purpose purpose, Consumer<List<byte[]>> onInvalidation, Runnable onClose) {
        if (aborted) {
            return CompletableFuture.failedFuture(new LinkException("the client is closed", null));
        }
        opened.incrementAndGet();
        CompletableFuture<Link> link = connector.connect(new LinkRequest(
                endpoint, purpose, clientName, options.requestTimeout(), onInvalidation, onClose));
        CompletableFuture<Link> soon = link.copy().orTimeout(
                2 * options.requestTimeout().toNanos(), TimeUnit.NANOSECONDS);
        return soon.handle((open, error) -> {
            if (error != null) {
                link.thenAccept(late -> late.close("it came too late"));
                Throwable cause = Faults.unwrap(error);
                throw cause instanceof LinkException known
                        ? known
                        : new LinkException("no connection to " + endpoint + ": " + cause, cause);
            }
            if (aborted) {
                open.close("the client was closed");
            }
            return open;
        });
    }

    Node nodeAt(Endpoint endpoint) {
        return nodes.compute(endpoint, (same, node) -> node == null || node.isGone() ? new Node(this, same) : node);
    }

    void forget(Node node, String why) {
        nodes.remove(node.endpoint, node);
        node.close(why);
    }

    /** Learns from an error. For ASK: the node to ask this once, else null. */
    Node redirect(Node node, ReplyError error) {
        Faults.Redirection where = Faults.redirection(error);
        if (where == null || !(router instanceof ClusterRouter map)) {
            if (Faults.isDoubtful(error)) {
                router.doubt(node);
            }
            return null;
        }
        Node other = nodeAt(map.translate(
                where.endpoint().host().getBytes(java.nio.charset.StandardCharsets.UTF_8),
                where.endpoint().port(),
                node.endpoint));
        if (where.ask()) {
            return other;
        }
        router.moved(where.slot(), other);
        return null;
    }

    /** The slot of a key; 0 where there are no slots. */
    public int slot(String key) {
        return cluster ? Slots.of(key) : 0;
    }

    // The end.

    /** Ends all acquisitions and holds, and lets withdrawals end for some time. */
    public void close(Duration grace) {
        synchronized (this) {
            if (closed) {
                return;
            }
            closed = true;
        }
        long end = System.nanoTime() + grace.toNanos();
        for (Acquisition acquisition : acquisitions) {
            acquisition.end(new ClientClosedException("the client was closed"));
        }
        for (HoldState hold : keeper.holds()) {
            if (hold.lose(LossReason.CLOSED)) {
                giveUp(hold);
            }
        }
        boolean interrupted = false;
        while (unsettled.get() > 0 && System.nanoTime() < end && !interrupted) {
            try {
                Thread.sleep(5);
            } catch (InterruptedException stop) {
                interrupted = true;
            }
        }
        abort();
        if (interrupted) {
            Thread.currentThread().interrupt();
        }
    }

    private void abort() {
        aborted = true;
        keeper.close();
        router.close();
        nodes.values().forEach(node -> node.close("the client was closed"));
        timer.shutdown();
        connector.close();
    }

    /** Whether nothing new begins. */
    public boolean isClosed() {
        return closed;
    }

    boolean isAborted() {
        return aborted;
    }

    // Withdrawals.

    void settling(Request request, CompletableFuture<Void> done) {
        unsettled.incrementAndGet();
        List<String> names = request.keys().stream().map(key -> request.owner() + '\0' + key).toList();
        synchronized (settling) {
            names.forEach(name -> settling.merge(name, 1, Integer::sum));
        }
        done.whenComplete((nothing, error) -> {
            synchronized (settling) {
                names.forEach(name -> settling.computeIfPresent(name, (same, n) -> n == 1 ? null : n - 1));
            }
            unsettled.decrementAndGet();
        });
    }

    boolean isSettling(Request request) {
        synchronized (settling) {
            return request.keys().stream().anyMatch(key -> settling.containsKey(request.owner() + '\0' + key));
        }
    }

    // Small things.

    Timer after(long nanos, Runnable task) {
        try {
            Future<?> future = timer.schedule(
                    () -> guard(task, error -> {}), Math.min(nanos, Long.MAX_VALUE / 4), TimeUnit.NANOSECONDS);
            return () -> future.cancel(false);
        } catch (RejectedExecutionException closedMeanwhile) {
            return () -> {};
        }
    }

    void run(Runnable task) {
        guard(task, error -> {});
    }

    /** Runs a task whose failure is a fault of this library, or of a reply that nobody expects. */
    void guard(Runnable task, Consumer<Throwable> failed) {
        try {
            task.run();
        } catch (RuntimeException error) {
            LOG.log(System.Logger.Level.WARNING, "a step failed", error);
            failed.accept(error);
        }
    }

    <T> CompletableFuture<T> within(CompletableFuture<T> future, long nanos) {
        return future.copy().orTimeout(nanos, TimeUnit.NANOSECONDS).handle((value, error) -> {
            if (error == null) {
                return value;
            }
            Throwable cause = Faults.unwrap(error);
            throw new UnreachableException("the server did not answer in time: " + cause.getMessage());
        });
    }

    /** A hold was lost: whoever wants to know is told. */
    void told(HoldState hold, LossReason reason) {
        Link session = hold.link;
        hold.link = null;
        if (session != null) {
            hold.node.discard(session, "the hold was lost");
        }
        Request request = hold.request;
        LOG.log(System.Logger.Level.WARNING, "{0} was lost ({1}), owner {2}", request.name(), reason, request.owner());
        Duration held = Duration.ofNanos(clock.now() - hold.grantedAt);
        tell(listener -> listener.lost(request.keys(), request.owner(), held, reason));
        guard(() -> options.callbacks().execute(() -> hold.lost.complete(reason)), error -> {});
    }

    void tell(Consumer<LockListener> event) {
        for (LockListener listener : options.listeners()) {
            try {
                event.accept(listener);
            } catch (RuntimeException error) {
                LOG.log(System.Logger.Level.WARNING, "a listener failed", error);
            }
        }
    }

    /** How many connections were opened so far. */
    public long connectionsOpened() {
        return opened.get();
    }

    /** How many holds there are. */
    public int holds() {
        return keeper.holds().size();
    }

    /** The settings. */
    public Options options() {
        return options;
    }

    /** Who tells of changes. */
    public Keeper keeper() {
        return keeper;
    }
}
