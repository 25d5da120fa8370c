package redislock.driver;

import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLong;
import java.util.function.Function;

import redislock.BuilderAccess;
import redislock.LockClient;
import redislock.internal.LeaseClock;
import redislock.spi.Connector;
import redislock.spi.Deployment;
import redislock.spi.Endpoint;
import redislock.spi.Link;
import redislock.spi.LinkRequest;
import redislock.spi.ReplyError;

/** Breaks the client on purpose, from outside, so that the suite can show that it finds the faults. */
final class Planted {
    private static final Set<String> PASSING =
            Set.of("TRYAGAIN", "CLUSTERDOWN", "MASTERDOWN", "LOADING", "READONLY", "UNBLOCKED");

    private Planted() {}

    static Connector connector(String fault, Connector connector, Duration timeout) {
        return switch (fault) {
            case "release-first" -> new Wrapped(connector, request -> link -> new ReleaseFirst(link, connector, request));
            case "no-retry" -> new Wrapped(connector, request -> NoRetry::new);
            case "forget-all" -> {
                Set<Link> all = ConcurrentHashMap.newKeySet();
                yield new Wrapped(connector, request -> link -> new ForgetAll(link, all, request, timeout));
            }
            default -> connector;
        };
    }

    static void settings(String fault, LockClient.Builder builder) {
        if (fault.equals("no-jitter")) {
            // Pauses of a second at most are those before a repetition.
            BuilderAccess.jitter(builder, (low, high) -> high <= 3_000_000_000L ? Math.min(low, 1_000_000L) : low);
        } else if (fault.equals("no-clock")) {
            AtomicLong ticks = new AtomicLong();
            Thread timer = new Thread(() -> tick(ticks), "planted");
            timer.setDaemon(true);
            timer.start();
            BuilderAccess.clock(builder, new LeaseClock(ticks::get, ticks::get, Long.MAX_VALUE / 2));
            builder.tracking(false);
        }
    }

    /** A timer that does not run while the process does not. */
    private static void tick(AtomicLong ticks) {
        try {
            while (true) {
                Thread.sleep(10);
                ticks.addAndGet(10_000_000L);
            }
        } catch (InterruptedException stop) {
            Thread.currentThread().interrupt();
        }
    }

    private record Wrapped(Connector connector, Function<LinkRequest, Function<Link, Link>> wrapping)
            implements Connector {
        @Override
        public Deployment deployment() {
            return connector.deployment();
        }

        @Override
        public CompletableFuture<Link> connect(LinkRequest request) {
            return connector.connect(request).thenApply(wrapping.apply(request));
        }

        @Override
        public Endpoint translate(Endpoint named) {
            return connector.translate(named);
        }

        @Override
        public String library() {
            return connector.library();
        }

        @Override
        public void close() {
            connector.close();
        }
    }

    private abstract static class Other implements Link {
        final Link link;

        Other(Link link) {
            this.link = link;
        }

        @Override
        public boolean isOpen() {
            return link.isOpen();
        }

        @Override
        public void close(String why) {
            link.close(why);
        }

        @Override
        public long trackingId() {
            return link.trackingId();
        }
    }

    private static boolean isCommand(List<byte[]> words, String name) {
        return Arrays.equals(words.get(0), name.getBytes(java.nio.charset.StandardCharsets.US_ASCII));
    }

    /** Sends a RELEASE on another connection while an ACQUIRE is not answered, and asks no more. */
    private static final class ReleaseFirst extends Other {
        private final Connector connector;
        private final LinkRequest request;
        private final AtomicInteger acquiring = new AtomicInteger();

        ReleaseFirst(Link link, Connector connector, LinkRequest request) {
            super(link);
            this.connector = connector;
            this.request = request;
        }

        @Override
        public CompletableFuture<List<Object>> send(List<List<byte[]>> commands) {
            List<byte[]> last = commands.get(commands.size() - 1);
            if (isCommand(last, "LOCK.RELEASE") && acquiring.get() > 0) {
                connector.connect(request).thenAccept(other ->
                        other.send(commands).whenComplete((replies, error) -> other.close("it was for one command")));
                return CompletableFuture.completedFuture(List.of(0L));
            }
            boolean acquire = isCommand(last, "LOCK.ACQUIRE");
            if (acquire) {
                acquiring.incrementAndGet();
            }
            return link.send(commands).whenComplete((replies, error) -> {
                if (acquire) {
                    acquiring.decrementAndGet();
                }
            });
        }
    }

    /** Lets no error pass for one that passes. */
    private static final class NoRetry extends Other {
        NoRetry(Link link) {
            super(link);
        }

        @Override
        public CompletableFuture<List<Object>> send(List<List<byte[]>> commands) {
            return link.send(commands).handle((replies, error) -> {
                if (error != null) {
                    List<Object> failed = new ArrayList<>();
                    commands.forEach(each -> failed.add(new ReplyError("ERR the connection was lost")));
                    return failed;
                }
                List<Object> changed = new ArrayList<>();
                for (Object reply : replies) {
                    boolean passes = reply instanceof ReplyError refused && PASSING.contains(refused.code());
                    changed.add(passes ? new ReplyError("ERR " + ((ReplyError) reply).text()) : reply);
                }
                return changed;
            });
        }
    }

    /** Closes all connections after one time-out. */
    private static final class ForgetAll extends Other {
        private final Set<Link> all;
        private final boolean waits;
        private final Duration timeout;

        ForgetAll(Link link, Set<Link> all, LinkRequest request, Duration timeout) {
            super(link);
            this.all = all;
            this.waits = request.purpose() == LinkRequest.Purpose.WAIT;
            this.timeout = timeout;
            all.add(link);
        }

        @Override
        public CompletableFuture<List<Object>> send(List<List<byte[]>> commands) {
            CompletableFuture<List<Object>> replies = link.send(commands);
            if (!waits) {
                replies.copy().orTimeout(timeout.toMillis(), TimeUnit.MILLISECONDS).whenComplete((all, error) -> {
                    if (error instanceof java.util.concurrent.TimeoutException) {
                        forget();
                    }
                });
            }
            return replies;
        }

        private void forget() {
            for (Link each : all) {
                all.remove(each);
                each.close("some connection had a time-out");
            }
        }
    }
}
