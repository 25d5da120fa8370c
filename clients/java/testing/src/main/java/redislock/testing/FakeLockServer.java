package redislock.testing;

import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ScheduledThreadPoolExecutor;
import java.util.concurrent.TimeUnit;

import redislock.spi.Connector;
import redislock.spi.Deployment;
import redislock.spi.Endpoint;
import redislock.spi.Link;
import redislock.spi.LinkException;
import redislock.spi.LinkRequest;
import redislock.spi.ReplyError;

/**
 * A lock server in memory. Clients of it behave as those of a real server, queue, leases and all: only the connection
 * is another. Several clients of one server exclude each other.
 *
 * <pre>{@code
 * FakeLockServer server = new FakeLockServer();
 * LockClient locks = LockClient.builder(server.connector()).build();
 * }</pre>
 *
 * <p>It knows the commands that clients use, one database, and no ACL.
 */
public final class FakeLockServer {
    private static final Endpoint ADDRESS = new Endpoint("fake", 0);

    private final ScheduledThreadPoolExecutor thread = new ScheduledThreadPoolExecutor(1, task -> {
        Thread made = new Thread(task, "fake-lock-server");
        made.setDaemon(true);
        return made;
    });
    private final Commands commands = new Commands(this::wakeAfter);

    /** Makes a server without locks. */
    public FakeLockServer() {
        thread.setKeepAliveTime(1, TimeUnit.SECONDS);
        thread.allowCoreThreadTimeOut(true);
        thread.setRemoveOnCancelPolicy(true);
    }

    private Runnable wakeAfter(long nanos) {
        var future = thread.schedule(commands::pass, Math.max(1, nanos), TimeUnit.NANOSECONDS);
        return () -> future.cancel(false);
    }

    /**
     * The way to this server for a client.
     *
     * @return a connector of its own for each call
     */
    public Connector connector() {
        return new Connector() {
            @Override
            public Deployment deployment() {
                return new Deployment(Deployment.Kind.SINGLE, List.of(ADDRESS), null);
            }

            @Override
            public CompletableFuture<Link> connect(LinkRequest request) {
                CompletableFuture<Link> opened = new CompletableFuture<>();
                thread.execute(() -> opened.complete(new FakeLink(request, commands.open(request.onInvalidation()))));
                return opened;
            }

            @Override
            public String library() {
                return "in memory";
            }

            @Override
            public void close() {}
        };
    }

    /**
     * Runs a command as an operator would, for example {@code DEL} to end all holds of a lock.
     *
     * @param words the command and its arguments: a LOCK command, DEL, EXISTS, DBSIZE, FLUSHALL, or SET, which makes a
     *     key that is not a lock
     * @return the reply: a number, a string, null, or a list of these; a map is a list of keys and values
     * @throws IllegalArgumentException if the server refuses the command
     */
    public Object execute(String... words) {
        List<byte[]> bytes = new ArrayList<>();
        for (String word : words) {
            bytes.add(word.getBytes(StandardCharsets.UTF_8));
        }
        CompletableFuture<Object> reply = new CompletableFuture<>();
        thread.execute(() -> {
            Session session = commands.open(keys -> {});
            commands.run(session, bytes, answer -> {
                commands.close(session);
                reply.complete(answer);
            });
        });
        Object answer = text(reply.join());
        if (answer instanceof ReplyError error) {
            throw new IllegalArgumentException(error.text());
        }
        return answer;
    }

    private static Object text(Object reply) {
        if (reply instanceof byte[] bytes) {
            return new String(bytes, StandardCharsets.UTF_8);
        }
        if (reply instanceof List<?> list) {
            List<Object> all = new ArrayList<>();
            list.forEach(each -> all.add(text(each)));
            return all;
        }
        return reply;
    }

    /**
     * Sets the server's clock ahead: leases, cooling and waits end that much earlier. The clocks of the clients are not
     * changed, so they learn of a loss as they would from a server.
     *
     * @param time how far
     */
    public void advance(Duration time) {
        CompletableFuture.runAsync(() -> commands.advance(time.toNanos()), thread).join();
    }

    /** Closes all connections. Sessions end, and clients connect anew. */
    public void disconnectAll() {
        CompletableFuture.runAsync(commands::closeAll, thread).join();
    }

    private final class FakeLink implements Link {
        private final LinkRequest request;
        private final Session session;

        FakeLink(LinkRequest request, Session session) {
            this.request = request;
            this.session = session;
            session.onClose = request.onClose();
        }

        @Override
        public CompletableFuture<List<Object>> send(List<List<byte[]>> batch) {
            CompletableFuture<List<Object>> replies = new CompletableFuture<>();
            List<Object> values = new ArrayList<>();
            thread.execute(() -> {
                for (List<byte[]> words : batch) {
                    commands.run(session, words, reply -> {
                        values.add(reply);
                        if (reply == Session.CLOSED) {
                            replies.completeExceptionally(new LinkException("the connection was closed", null));
                        } else if (values.size() == batch.size()) {
                            replies.complete(values);
                        }
                    });
                }
            });
            return replies;
        }

        @Override
        public boolean isOpen() {
            return !session.closed;
        }

        @Override
        public void close(String why) {
            session.closed = true;
            thread.execute(() -> commands.close(session));
        }

        @Override
        public long trackingId() {
            return request.purpose() == LinkRequest.Purpose.MONITOR ? session.id : 0;
        }
    }
}
