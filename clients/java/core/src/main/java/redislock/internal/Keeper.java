package redislock.internal;

import static redislock.internal.Request.command;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.PriorityQueue;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.function.Consumer;

import redislock.LockInfo;
import redislock.LossReason;
import redislock.spi.ReplyError;

/**
 * Renews all holds, notices their loss, and watches locks for observers. One timer serves all. What is due at a server
 * goes there in one batch, and the next batch follows when the last one is answered: however many holds there are, a
 * slow server gets one question at a time.
 */
public final class Keeper {
    private static final long MS = 1_000_000L;

    /** A hold that is over sooner is not worth a look at the server. */
    private static final long ENLIST_AFTER = 30 * MS;

    /** A lock that changes all the time is looked at this often. */
    private static final long LOOK_EVERY = 40 * MS;

    /** The longest pause, so that a machine that slept is noticed. */
    private static final long PAUSE = 2000 * MS;

    private static final long OBSERVE_AGAIN = 15_000 * MS;
    private static final long OBSERVE_UNTRACKED = 1000 * MS;

    /** What is to be done for a hold or a watch. */
    enum Kind {
        ENLIST,
        EXPIRE,
        RENEW,
        CHECK,
        LOOK,
        TRACK
    }

    /** One thing to do at a server. Exactly one of hold and watch is given, except for TRACK. */
    record Job(Kind kind, HoldState hold, Watch watch) {
        int slot() {
            return hold != null ? hold.slot : watch == null ? 0 : watch.slot;
        }

        boolean isWanted() {
            return hold != null ? hold.isOpen() : watch == null || !watch.ended;
        }
    }

    private record Due(long at, long order, Job job) implements Comparable<Due> {
        @Override
        public int compareTo(Due other) {
            int byTime = Long.compare(at, other.at);
            return byTime != 0 ? byTime : Long.compare(order, other.order);
        }
    }

    /** An observer of one lock. */
    public static final class Watch {
        private final String key;
        private final int slot;
        private final Consumer<LockInfo> callback;
        private volatile boolean ended;

        /** When it is looked at next. Guarded by the keeper. */
        private long lookDue = Long.MAX_VALUE;

        private Watch(String key, int slot, Consumer<LockInfo> callback) {
            this.key = key;
            this.slot = slot;
            this.callback = callback;
        }
    }

    private final Engine engine;
    private final PriorityQueue<Due> queue = new PriorityQueue<>();
    private final Set<HoldState> holds = new HashSet<>();
    private final Map<String, Set<Object>> byKey = new HashMap<>();
    private final Map<String, Long> looksAt = new HashMap<>();
    private long order;
    private long armedFor = Long.MAX_VALUE;
    private Engine.Timer armed;
    private boolean closed;

    Keeper(Engine engine) {
        this.engine = engine;
    }

    synchronized void add(HoldState hold) {
        holds.add(hold);
        hold.request.keys().forEach(key -> byKey.computeIfAbsent(key, unknown -> new HashSet<>()).add(hold));
        push(Math.min(engine.clock.now() + ENLIST_AFTER, hold.until()), new Job(Kind.ENLIST, hold, null));
    }

    synchronized void remove(HoldState hold) {
        holds.remove(hold);
        hold.request.keys().forEach(key -> drop(key, hold));
    }

    private void drop(String key, Object item) {
        Set<Object> items = byKey.get(key);
        if (items != null && items.remove(item) && items.isEmpty()) {
            byKey.remove(key);
        }
    }

    synchronized List<HoldState> holds() {
        return new ArrayList<>(holds);
    }

    /** Calls back with what LOCK.INFO says, now and whenever it may have changed. Null: free. */
    public Watch watch(String key, Consumer<LockInfo> callback) {
        Watch watch = new Watch(key, engine.slot(key), callback);
        synchronized (this) {
            byKey.computeIfAbsent(key, unknown -> new HashSet<>()).add(watch);
            push(engine.clock.now(), new Job(Kind.LOOK, null, watch));
        }
        return watch;
    }

    /** Ends the calls. */
    public synchronized void unwatch(Watch watch) {
        watch.ended = true;
        drop(watch.key, watch);
    }

    /** The server says that locks changed; null: any of them may have. */
    synchronized void changed(List<byte[]> keys) {
        long now = engine.clock.now();
        List<String> names = keys == null
                ? List.copyOf(byKey.keySet())
                : keys.stream().map(key -> new String(key, StandardCharsets.UTF_8)).toList();
        for (String key : names) {
            Set<Object> items = byKey.get(key);
            if (items == null || looksAt.getOrDefault(key, Long.MIN_VALUE) > now) {
                continue;
            }
            // Each release of a semaphore makes all its holders look, so not each time.
            long at = items.size() == 1 ? now : now + LOOK_EVERY;
            if (at > now) {
                looksAt.put(key, at);
            }
            items.forEach(item -> push(at, item instanceof Watch watch
                    ? new Job(Kind.LOOK, null, watch)
                    : new Job(Kind.CHECK, (HoldState) item, null)));
        }
    }

    /** A connection that the server tells of changes through is lost. */
    void trackingLost(Node node) {
        synchronized (this) {
            if (closed || byKey.isEmpty()) {
                return;
            }
        }
        put(node, new Job(Kind.TRACK, null, null));
    }

    /** The lease was changed by the holder. */
    synchronized void leaseChanged(HoldState hold) {
        push(hold.until(), new Job(Kind.EXPIRE, hold, null));
        if (hold.renew) {
            push(engine.clock.now() + third(hold), new Job(Kind.RENEW, hold, null));
        }
    }

    void lose(HoldState hold, LossReason reason) {
        remove(hold);
        if (hold.lose(reason)) {
            engine.told(hold, reason);
        }
    }

    synchronized void close() {
        closed = true;
        queue.clear();
    }

    // The timer.

    private synchronized void push(long at, Job job) {
        if (closed) {
            return;
        }
        // Of these there is one of each; an older one in the queue no longer counts.
        switch (job.kind) {
            case EXPIRE -> job.hold.expireDue = at;
            case RENEW -> job.hold.renewDue = at;
            case LOOK -> {
                if (job.watch.lookDue <= at) {
                    return;
                }
                job.watch.lookDue = at;
            }
            default -> {}
        }
        queue.add(new Due(at, order++, job));
        arm();
    }

    private static boolean isCurrent(Due due) {
        Job job = due.job;
        long expected = switch (job.kind) {
            case EXPIRE -> job.hold.expireDue;
            case RENEW -> job.hold.renewDue;
            case LOOK -> job.watch.lookDue;
            default -> due.at;
        };
        if (expected != due.at || !job.isWanted()) {
            return false;
        }
        switch (job.kind) {
            case EXPIRE -> job.hold.expireDue = Long.MAX_VALUE;
            case RENEW -> job.hold.renewDue = Long.MAX_VALUE;
            case LOOK -> job.watch.lookDue = Long.MAX_VALUE;
            default -> {}
        }
        return true;
    }

    private void arm() {
        if (queue.isEmpty() || closed) {
            return;
        }
        long now = engine.clock.now();
        long at = Math.min(queue.peek().at, now + PAUSE);
        if (at < armedFor) {
            if (armed != null) {
                armed.cancel();
            }
            armedFor = at;
            armed = engine.after(Math.max(0, at - now), this::tick);
        }
    }

    private void tick() {
        List<Job> due = new ArrayList<>();
        long now = engine.clock.now();
        synchronized (this) {
            armedFor = Long.MAX_VALUE;
            while (!queue.isEmpty() && queue.peek().at <= now) {
                Due first = queue.poll();
                if (isCurrent(first)) {
                    due.add(first.job);
                }
            }
            looksAt.values().removeIf(at -> at <= now);
            arm();
        }
        for (Job job : new LinkedHashSet<>(due)) {
            switch (job.kind) {
                case ENLIST -> enlist(job.hold, now);
                case EXPIRE -> expire(job.hold, now);
                default -> assign(job);
            }
        }
    }

    private void enlist(HoldState hold, long now) {
        push(hold.until(), new Job(Kind.EXPIRE, hold, null));
        if (hold.renew) {
            // A third of the lease after its beginning, which may be a while ago.
            push(Math.max(now, hold.until() - hold.leaseMs * MS + third(hold)), new Job(Kind.RENEW, hold, null));
        }
        if (engine.options.tracking()) {
            assign(new Job(Kind.CHECK, hold, null));
        }
    }

    private void expire(HoldState hold, long now) {
        if (hold.until() > now) {
            push(hold.until(), new Job(Kind.EXPIRE, hold, null));
        } else {
            lose(hold, hold.whyExpired());
        }
    }

    /** A third of the lease, a little less at random, so that not all are renewed at once. */
    private long third(HoldState hold) {
        long third = hold.leaseMs * MS / 3;
        return engine.options.jitter().applyAsLong(third - third / 10, third + 1);
    }

    // The servers.

    private void assign(Job job) {
        Node node = engine.router.known(job.slot());
        if (node != null && !node.isGone()) {
            put(node, job);
        } else {
            locate(job);
        }
    }

    private void locate(Job job) {
        engine.router.node(job.slot()).whenComplete((node, error) -> {
            if (error == null) {
                put(node, job);
            } else {
                push(soon(), job);
            }
        });
    }

    private long soon() {
        return engine.clock.now() + engine.options.jitter().applyAsLong(100 * MS, 300 * MS);
    }

    private void put(Node node, Job job) {
        synchronized (this) {
            node.work.add(job);
            if (node.working) {
                return;
            }
            node.working = true;
        }
        serve(node, engine.options.backoff(20, 1000));
    }

    private void serve(Node node, Backoff backoff) {
        List<Job> jobs;
        synchronized (this) {
            jobs = new ArrayList<>(node.work);
            node.work.clear();
            if (jobs.isEmpty() || closed) {
                node.working = false;
                return;
            }
        }
        tracking(node, jobs).thenCompose(wanted -> send(node, wanted)).whenComplete((done, error) -> {
            if (error == null) {
                serve(node, engine.options.backoff(20, 1000));
                return;
            }
            Engine.LOG.log(System.Logger.Level.DEBUG, "renewal at " + node.endpoint + " failed", error);
            engine.router.doubt(node);
            engine.after(backoff.pause(), () -> {
                // Perhaps at another server by now.
                jobs.stream().filter(Job::isWanted).filter(job -> job.kind != Kind.TRACK).forEach(this::locate);
                if (!node.isGone() && jobs.stream().anyMatch(job -> job.kind == Kind.TRACK)) {
                    trackingLost(node);
                }
                serve(node, backoff);
            });
        });
    }

    /** Sees to it that the server tells of changes. After that, everything here is looked at: some may be missed. */
    private CompletableFuture<Set<Job>> tracking(Node node, List<Job> jobs) {
        Set<Job> wanted = new LinkedHashSet<>(jobs);
        if (!engine.options.tracking() || node.isTracking()) {
            return CompletableFuture.completedFuture(wanted);
        }
        // A renewal must not wait for it.
        return node.track()
                .copy()
                .completeOnTimeout(null, engine.options.requestTimeout().toNanos(),
                        java.util.concurrent.TimeUnit.NANOSECONDS)
                .exceptionally(error -> null)
                .thenApply(tracked -> {
                    if (tracked == null) {
                        synchronized (this) {
                            node.work.add(new Job(Kind.TRACK, null, null));
                        }
                    } else if (tracked) {
                        everythingAt(node, wanted);
                    }
                    return wanted;
                });
    }

    private synchronized void everythingAt(Node node, Set<Job> wanted) {
        for (Set<Object> items : byKey.values()) {
            for (Object item : items) {
                Job job = item instanceof Watch watch
                        ? new Job(Kind.LOOK, null, watch)
                        : new Job(Kind.CHECK, (HoldState) item, null);
                if (engine.router.known(job.slot()) == node) {
                    wanted.add(job);
                }
            }
        }
    }

    private CompletableFuture<Void> send(Node node, Set<Job> jobs) {
        List<List<byte[]>> commands = new ArrayList<>();
        List<Job> asked = new ArrayList<>();
        List<Integer> ends = new ArrayList<>();
        List<Long> versions = new ArrayList<>();
        for (Job job : jobs) {
            if (job.kind == Kind.TRACK || !job.isWanted()) {
                continue;
            }
            switch (job.kind) {
                case LOOK -> commands.add(command("LOCK.INFO", job.watch.key));
                // The server may have cut the lease: it has a bound of its own.
                case RENEW -> {
                    commands.add(job.hold.request.extend(job.hold.fence, job.hold.leaseMs));
                    commands.addAll(job.hold.request.checks(false));
                }
                default -> commands.addAll(job.hold.request.checks(false));
            }
            asked.add(job);
            ends.add(commands.size());
            versions.add(job.hold == null ? 0 : job.hold.version());
        }
        if (commands.isEmpty()) {
            return CompletableFuture.completedFuture(null);
        }
        return node.channel().thenCompose(channel -> {
            long sent = engine.clock.now();
            return channel.send(commands).thenAccept(replies -> {
                for (int i = 0; i < asked.size(); i++) {
                    List<Object> answer = replies.subList(i == 0 ? 0 : ends.get(i - 1), ends.get(i));
                    Job job = asked.get(i);
                    long version = versions.get(i);
                    engine.guard(() -> learn(node, job, answer, sent, version), error -> push(soon(), job));
                }
            });
        });
    }

    private void learn(Node node, Job job, List<Object> replies, long sent, long version) {
        for (Object reply : replies) {
            if (reply instanceof ReplyError error) {
                refused(node, job, error);
                return;
            }
        }
        switch (job.kind) {
            case LOOK -> looked(node, job.watch, Replies.info(replies.get(0)));
            case RENEW -> renewed(job.hold, replies, sent, version);
            default -> {
                if (!job.hold.learn(replies, sent, version)) {
                    lose(job.hold, LossReason.GONE);
                }
            }
        }
    }

    private void renewed(HoldState hold, List<Object> replies, long sent, long version) {
        long count = Replies.number(replies.get(0));
        if (count != (hold.request.multi() ? hold.request.keys().size() : 1)) {
            lose(hold, LossReason.GONE);
        } else if (hold.version() == version) {
            hold.extended(sent, hold.leaseMs);
            if (!hold.learn(replies.subList(1, replies.size()), sent, hold.version())) {
                lose(hold, LossReason.GONE);
                return;
            }
            engine.tell(listener -> listener.renewed(hold.request.keys(), hold.request.owner()));
            push(sent + third(hold), new Job(Kind.RENEW, hold, null));
        } else {
            // The holder gave it another lease meanwhile, and this renewal may have replaced it.
            push(engine.clock.now(), new Job(Kind.RENEW, hold, null));
        }
    }

    private void looked(Node node, Watch watch, LockInfo info) {
        engine.options.callbacks().execute(() -> {
            if (!watch.ended) {
                engine.guard(() -> watch.callback.accept(info), error -> {});
            }
        });
        long again = node.isTracking() ? OBSERVE_AGAIN : OBSERVE_UNTRACKED;
        push(engine.clock.now() + engine.options.jitter().applyAsLong(again - again / 10, again),
                new Job(Kind.LOOK, null, watch));
    }

    private void refused(Node node, Job job, ReplyError error) {
        engine.redirect(node, error);
        long at = soon();
        if (!Faults.passes(error)) {
            if (job.kind == Kind.RENEW) {
                Engine.LOG.log(System.Logger.Level.WARNING, "{0} cannot be renewed: {1}",
                        job.hold.request.name(), error.text());
                job.hold.refused(error.text());
                at = Math.max(at, engine.clock.now() + job.hold.leaseMs * MS / 6);
            } else {
                at += 2000 * MS;
            }
        }
        // It may pass. If it does not, the lease ends the hold.
        push(at, job);
    }
}
