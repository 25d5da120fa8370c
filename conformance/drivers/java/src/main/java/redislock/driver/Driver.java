package redislock.driver;

import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.function.Consumer;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import redislock.Hold;
import redislock.Leadership;
import redislock.LeaderElection;
import redislock.LockClient;
import redislock.LockInfo;
import redislock.Locks;
import redislock.NotHeldException;
import redislock.OwnerScope;
import redislock.RedisLock;

/** What each request does. */
final class Driver {
    private static final List<String> FEATURES = List.of(
            "shared", "counted", "session", "keys", "scope", "max", "cool", "delay", "downgrade", "reentrant",
            "durable", "elect", "observe", "tracking", "share-waits", "block", "sentinel", "cluster");

    private final String flavour;
    private final Consumer<ObjectNode> events;
    private final Map<String, LockClient> clients = new ConcurrentHashMap<>();
    private final Map<String, OwnerScope> scopes = new ConcurrentHashMap<>();
    private final Map<String, Hold> holds = new ConcurrentHashMap<>();
    private final Map<String, Leadership> leaders = new ConcurrentHashMap<>();
    private final Map<Long, Cancelling> running = new ConcurrentHashMap<>();

    /** Re-entrant locks belong to a thread: this one. */
    private final ExecutorService oneThread = Executors.newSingleThreadExecutor();

    /** An acquisition that can be cancelled, also before it has begun. */
    private static final class Cancelling {
        private boolean cancelled;
        private Future<?> future;

        synchronized void begin(Future<?> acquisition) {
            future = acquisition;
            if (cancelled) {
                acquisition.cancel(true);
            }
        }

        synchronized void cancel() {
            cancelled = true;
            if (future != null) {
                future.cancel(true);
            }
        }
    }

    Driver(String flavour, Consumer<ObjectNode> events) {
        this.flavour = flavour;
        this.events = events;
    }

    /** Runs on the thread that reads, so that a request that names this one finds it. */
    void announce(JsonNode request) {
        String what = request.path("do").asText();
        if (what.equals("acquire") || what.equals("elect")) {
            running.put(request.get("id").asLong(), new Cancelling());
        }
    }

    ObjectNode act(JsonNode request) throws Exception {
        ObjectNode answer = JsonNodeFactory.instance.objectNode();
        switch (request.path("do").asText()) {
            case "hello" -> hello(answer);
            case "connect" -> clients.put(locks(request), Connecting.client(flavour, request));
            case "owner" -> answer.put("owner", scope(request).owner());
            case "acquire" -> acquire(request, answer);
            case "cancel" -> Optional.ofNullable(running.get(request.get("request").asLong()))
                    .ifPresent(Cancelling::cancel);
            case "extend" -> hold(request).extend(millis(request, "lease_ms"));
            case "downgrade" -> hold(request).downgrade();
            case "release" -> release(request);
            case "held" -> answer.put("held", hold(request).isHeld());
            case "check" -> answer.put("held", check(hold(request)));
            case "elect" -> elect(request, answer);
            case "resign" -> resign(request);
            case "observe" -> observe(request, answer);
            case "info" -> info(request, answer);
            case "block" -> Thread.sleep(request.path("for_ms").asLong());
            case "stats" -> {
                answer.put("connections_opened", client(request).connectionsOpened());
                answer.put("holds", client(request).holds());
            }
            case "close" -> client(request).close();
            default -> throw new UnsupportedOperationException("the Java client does not have this: " + request);
        }
        return answer;
    }

    private void hello(ObjectNode answer) {
        String library = switch (flavour) {
            case "jedis" -> redislock.jedis.JedisConnector.single(
                    new redis.clients.jedis.HostAndPort("localhost", 6379),
                    redis.clients.jedis.DefaultJedisClientConfig.builder().build()).library();
            case "lettuce" -> redislock.lettuce.LettuceConnector.single(
                    io.lettuce.core.RedisURI.create("redis://localhost")).library();
            default -> "in memory";
        };
        answer.put("client", "java-" + flavour).put("library", library);
        FEATURES.forEach(answer.putArray("features")::add);
    }

    private static String locks(JsonNode request) {
        return request.path("locks").asText("main");
    }

    private LockClient client(JsonNode request) {
        return Optional.ofNullable(clients.get(locks(request)))
                .orElseThrow(() -> new IllegalArgumentException("not connected: " + locks(request)));
    }

    private OwnerScope scope(JsonNode request) {
        return scopes.computeIfAbsent(
                locks(request) + "/" + request.get("scope").asText(), unknown -> client(request).owner());
    }

    private Hold hold(JsonNode request) {
        String name = request.path("hold").asText();
        return Optional.ofNullable(holds.get(name))
                .orElseThrow(() -> new IllegalArgumentException("no hold " + name));
    }

    private static Duration millis(JsonNode request, String name) {
        return Duration.ofMillis(request.get(name).asLong());
    }

    private RedisLock lock(JsonNode request) {
        Locks from = request.hasNonNull("scope") ? scope(request) : client(request);
        RedisLock lock;
        String mode = request.path("mode").asText("exclusive");
        if (request.hasNonNull("keys")) {
            List<String> keys = new ArrayList<>();
            request.get("keys").forEach(key -> keys.add(key.asText()));
            lock = from.multiLock(keys);
            lock = mode.equals("shared") ? lock.shared() : lock;
        } else {
            String key = request.get("key").asText();
            lock = switch (mode) {
                case "exclusive" -> from.lock(key);
                case "shared" -> from.sharedLock(key);
                case "counted" -> from.semaphore(key, request.get("limit").asInt())
                        .weight(request.path("weight").asInt(1));
                default -> throw new IllegalArgumentException("no mode " + mode);
            };
        }
        if (request.hasNonNull("lease_ms")) {
            lock = lock.lease(millis(request, "lease_ms"));
        }
        if (request.hasNonNull("max_ms")) {
            lock = lock.max(millis(request, "max_ms"));
        }
        if (request.hasNonNull("delay_ms")) {
            lock = lock.delay(millis(request, "delay_ms"));
        }
        if (request.hasNonNull("durable")) {
            lock = lock.durable(request.get("durable").asInt(), Duration.ofSeconds(1));
        }
        lock = request.path("session").asBoolean() ? lock.session() : lock;
        lock = request.path("reentrant").asBoolean() ? lock.reentrant() : lock;
        return request.path("renew").asBoolean(true) ? lock : lock.withoutRenewal();
    }

    private void acquire(JsonNode request, ObjectNode answer) throws Exception {
        String name = request.get("hold").asText();
        Duration timeout = request.hasNonNull("timeout_ms") ? millis(request, "timeout_ms") : null;
        RedisLock lock = lock(request);
        long id = request.get("id").asLong();
        Hold hold;
        if (request.path("reentrant").asBoolean()) {
            hold = cancellable(id, oneThread.submit(() -> block(lock, timeout)));
        } else if (id % 2 == 0) {
            // Half of them block a thread, which a cancellation interrupts.
            hold = blocking(id, lock, timeout);
        } else {
            hold = cancellable(id, timeout == null ? lock.acquireAsync() : lock.acquireAsync(timeout));
        }
        holds.put(name, hold);
        hold.lost().thenAccept(reason -> events.accept(JsonNodeFactory.instance.objectNode()
                .put("event", "lost")
                .put("hold", name)
                .put("reason", reason.name().toLowerCase(java.util.Locale.ROOT))));
        answer.put("owner", hold.owner());
        if (request.hasNonNull("keys")) {
            hold.fences().values().forEach(answer.putArray("fences")::add);
        } else {
            answer.put("fence", hold.fence());
        }
    }

    private static Hold block(RedisLock lock, Duration timeout) throws InterruptedException {
        return timeout == null ? lock.acquire() : lock.acquire(timeout);
    }

    private Hold blocking(long id, RedisLock lock, Duration timeout) throws Exception {
        Thread self = Thread.currentThread();
        CompletableFuture<Hold> interrupting = new CompletableFuture<>() {
            @Override
            public boolean cancel(boolean mayInterrupt) {
                boolean first = super.cancel(mayInterrupt);
                if (first) {
                    self.interrupt();
                }
                return first;
            }
        };
        running.get(id).begin(interrupting);
        try {
            Hold hold = block(lock, timeout);
            if (!interrupting.complete(hold)) {
                hold.release();
                throw new InterruptedException("cancelled at the last moment");
            }
            return hold;
        } finally {
            interrupting.complete(null);
            running.remove(id);
            Thread.interrupted();
        }
    }

    private <T> T cancellable(long id, Future<T> future) throws Exception {
        running.get(id).begin(future);
        try {
            return future.get();
        } catch (ExecutionException failed) {
            throw failed.getCause() instanceof Exception cause ? cause : failed;
        } finally {
            running.remove(id);
        }
    }

    private void release(JsonNode request) throws Exception {
        Hold hold = hold(request);
        holds.values().remove(hold);
        if (request.hasNonNull("cool_ms")) {
            hold.release(millis(request, "cool_ms"));
            return;
        }
        try {
            hold.release();
        } catch (IllegalMonitorStateException otherThread) {
            try {
                oneThread.submit(() -> hold.release()).get();
            } catch (ExecutionException failed) {
                throw failed.getCause() instanceof Exception cause ? cause : failed;
            }
        }
    }

    private static boolean check(Hold hold) {
        try {
            hold.check();
            return true;
        } catch (NotHeldException lost) {
            return false;
        }
    }

    private LeaderElection election(JsonNode request) {
        LeaderElection election = client(request).leaderElection(request.get("key").asText());
        if (request.hasNonNull("lease_ms")) {
            election = election.lease(millis(request, "lease_ms"));
        }
        return request.path("session").asBoolean() ? election.session() : election;
    }

    private void elect(JsonNode request, ObjectNode answer) throws Exception {
        String name = request.get("leader").asText();
        Leadership leadership = cancellable(request.get("id").asLong(), election(request).electAsync());
        leaders.put(name, leadership);
        leadership.lost().thenAccept(reason -> events.accept(JsonNodeFactory.instance.objectNode()
                .put("event", "lost")
                .put("hold", name)
                .put("reason", reason.name().toLowerCase(java.util.Locale.ROOT))));
        answer.put("fence", leadership.fence()).put("owner", leadership.owner());
    }

    private void resign(JsonNode request) {
        Leadership leadership = leaders.remove(request.get("leader").asText());
        if (leadership == null) {
            throw new IllegalArgumentException("no leader " + request.get("leader"));
        }
        leadership.resign();
    }

    private void observe(JsonNode request, ObjectNode answer) throws Exception {
        String name = request.get("observer").asText();
        CompletableFuture<Optional<String>> first = new CompletableFuture<>();
        election(request).observe(leader -> {
            if (!first.complete(leader)) {
                events.accept(JsonNodeFactory.instance.objectNode()
                        .put("event", "leader")
                        .put("observer", name)
                        .put("owner", leader.orElse(null)));
            }
        });
        answer.put("owner", first.get().orElse(null));
    }

    private void info(JsonNode request, ObjectNode answer) {
        Optional<LockInfo> info = client(request).info(request.get("key").asText());
        List<LockInfo.Holder> holders = info.map(LockInfo::holders).orElse(List.of());
        Arrays.asList(holders.stream().map(LockInfo.Holder::owner).toArray(String[]::new))
                .forEach(answer.putArray("holders")::add);
        answer.put("waiters", info.map(LockInfo::waiters).orElse(0L));
    }
}
