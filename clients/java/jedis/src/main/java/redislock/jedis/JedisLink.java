package redislock.jedis;

import java.nio.charset.StandardCharsets;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Deque;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.Executor;

import redis.clients.jedis.CommandArguments;
import redis.clients.jedis.Connection;
import redis.clients.jedis.HostAndPort;
import redis.clients.jedis.JedisClientConfig;
import redis.clients.jedis.commands.ProtocolCommand;
import redis.clients.jedis.exceptions.JedisDataException;
import redislock.spi.Link;
import redislock.spi.LinkException;
import redislock.spi.LinkRequest;
import redislock.spi.ReplyError;

/**
 * A connection of Jedis with a thread that reads. Whoever sends also writes, but no more than the buffers of the
 * sockets surely take, so that nobody ever blocks: the rest is written when replies have come.
 */
final class JedisLink implements Link {
    private static final byte[] MESSAGE = bytes("message");
    private static final byte[] SUBSCRIBE = bytes("subscribe");

    /** This many bytes may be on their way without a reply. */
    private static final int WINDOW = 32 * 1024;

    private final Wire wire;
    private final LinkRequest request;
    private final Executor threads;
    private final long trackingId;

    /** What is sent and not answered, and what is not sent yet. */
    private final Deque<Part> sent = new ArrayDeque<>();

    private final Deque<Part> unsent = new ArrayDeque<>();
    private int onWay;
    private String closed;

    /** Jedis shows these only to subclasses. */
    private static final class Wire extends Connection {
        Wire(HostAndPort server, JedisClientConfig config) {
            super(server, config);
        }

        @Override
        public void flush() {
            super.flush();
        }
    }

    private static final class Batch {
        private final CompletableFuture<List<Object>> replies = new CompletableFuture<>();
        private final List<Object> values = new ArrayList<>();
        private final int size;

        Batch(int size) {
            this.size = size;
        }
    }

    private record Part(Batch batch, List<byte[]> words, int length) {}

    private JedisLink(Wire wire, LinkRequest request, Executor threads, long trackingId) {
        this.wire = wire;
        this.request = request;
        this.threads = threads;
        this.trackingId = trackingId;
    }

    /** Blocks until it is connected. */
    static JedisLink open(LinkRequest request, JedisClientConfig config, Executor threads) {
        Wire wire = new Wire(new HostAndPort(request.endpoint().host(), request.endpoint().port()), config);
        try {
            long id = 0;
            if (request.purpose() == LinkRequest.Purpose.MONITOR) {
                id = subscribe(wire);
            }
            wire.setSoTimeout(0);
            return new JedisLink(wire, request, threads, id);
        } catch (RuntimeException failed) {
            disconnect(wire);
            throw failed;
        }
    }

    /** The id of the connection, or 0 if the user may not subscribe. */
    private static long subscribe(Wire wire) {
        try {
            Object id = wire.executeCommand(arguments(List.of(bytes("CLIENT"), bytes("ID"))));
            wire.executeCommand(arguments(List.of(bytes("SUBSCRIBE"), bytes("__redis__:invalidate"))));
            return (Long) id;
        } catch (JedisDataException refused) {
            return 0;
        }
    }

    private static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.US_ASCII);
    }

    private static CommandArguments arguments(List<byte[]> words) {
        ProtocolCommand name = () -> words.get(0);
        CommandArguments arguments = new CommandArguments(name);
        words.subList(1, words.size()).forEach(arguments::add);
        return arguments;
    }

    @Override
    public CompletableFuture<List<Object>> send(List<List<byte[]>> commands) {
        Batch batch = new Batch(commands.size());
        String failed;
        synchronized (this) {
            if (closed != null) {
                batch.replies.completeExceptionally(failure(null));
                return batch.replies;
            }
            for (List<byte[]> words : commands) {
                int length = words.stream().mapToInt(word -> word.length + 16).sum();
                unsent.addLast(new Part(batch, words, length));
            }
            failed = write();
        }
        if (failed != null) {
            close(failed);
        }
        return batch.replies;
    }

    /** Writes what fits. Returns why it could not, or null. */
    private String write() {
        boolean written = false;
        try {
            while (!unsent.isEmpty() && (onWay == 0 || onWay + unsent.peekFirst().length <= WINDOW)) {
                Part part = unsent.pollFirst();
                sent.addLast(part);
                onWay += part.length;
                wire.sendCommand(arguments(part.words));
                written = true;
            }
            if (written) {
                wire.flush();
            }
            return null;
        } catch (RuntimeException broken) {
            return "writing failed: " + broken.getMessage();
        }
    }

    /** Reads until the connection ends. */
    void read() {
        String why;
        while (true) {
            Object value;
            try {
                value = wire.getUnflushedObject();
            } catch (JedisDataException error) {
                value = error;
            } catch (RuntimeException broken) {
                why = broken.getMessage();
                break;
            }
            why = received(plain(value));
            if (why != null) {
                break;
            }
        }
        close(why);
    }

    private String received(Object value) {
        if (trackingId != 0 && value instanceof List<?> message && isPush(message)) {
            request.onInvalidation().accept(keys(message));
            return null;
        }
        Part part;
        String failed;
        synchronized (this) {
            part = sent.pollFirst();
            if (part == null) {
                return closed == null ? "the server sent something that was not asked for" : closed;
            }
            onWay -= part.length;
            failed = write();
        }
        Batch batch = part.batch;
        batch.values.add(value);
        if (batch.values.size() == batch.size) {
            batch.replies.complete(batch.values);
        }
        return failed;
    }

    private static boolean isPush(List<?> message) {
        return message.size() == 3
                && message.get(0) instanceof byte[] kind
                && (Arrays.equals(kind, MESSAGE) || Arrays.equals(kind, SUBSCRIBE));
    }

    private static List<byte[]> keys(List<?> message) {
        if (!(message.get(2) instanceof List<?> list)) {
            return null;
        }
        List<byte[]> keys = new ArrayList<>();
        list.forEach(key -> keys.add((byte[]) key));
        return keys;
    }

    private static Object plain(Object value) {
        if (value instanceof JedisDataException error) {
            return new ReplyError(String.valueOf(error.getMessage()));
        }
        if (value instanceof List<?> list) {
            List<Object> plain = new ArrayList<>(list.size());
            list.forEach(each -> plain.add(plain(each)));
            return plain;
        }
        return value;
    }

    private LinkException failure(Throwable cause) {
        return new LinkException(request.endpoint() + ": " + closed, cause);
    }

    @Override
    public synchronized boolean isOpen() {
        return closed == null;
    }

    @Override
    public long trackingId() {
        return trackingId;
    }

    @Override
    public void close(String why) {
        List<Part> lost = new ArrayList<>();
        synchronized (this) {
            if (closed != null) {
                return;
            }
            closed = why == null ? "the connection was closed" : why;
            lost.addAll(sent);
            lost.addAll(unsent);
            sent.clear();
            unsent.clear();
        }
        try {
            // Closing may block, with TLS for example.
            threads.execute(() -> disconnect(wire));
        } catch (RuntimeException | OutOfMemoryError closing) {
            disconnect(wire);
        }
        lost.forEach(part -> part.batch.replies.completeExceptionally(failure(null)));
        request.onClose().run();
    }

    private static void disconnect(Wire wire) {
        try {
            wire.disconnect();
        } catch (RuntimeException broken) {
            System.getLogger("redislock").log(System.Logger.Level.DEBUG, "closing a connection failed", broken);
        }
    }
}
