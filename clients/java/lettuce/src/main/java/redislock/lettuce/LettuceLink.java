package redislock.lettuce;

import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.function.Consumer;

import io.lettuce.core.RedisChannelHandler;
import io.lettuce.core.RedisConnectionStateListener;
import io.lettuce.core.api.StatefulRedisConnection;
import io.lettuce.core.api.push.PushMessage;
import io.lettuce.core.codec.ByteArrayCodec;
import io.lettuce.core.protocol.AsyncCommand;
import io.lettuce.core.protocol.Command;
import io.lettuce.core.protocol.CommandArgs;
import io.lettuce.core.protocol.ProtocolKeyword;
import redislock.spi.Link;
import redislock.spi.LinkException;
import redislock.spi.LinkRequest;

/** A connection of Lettuce that does not reconnect. */
final class LettuceLink implements Link, RedisConnectionStateListener {
    private static final List<byte[]> CLIENT_ID =
            List.of("CLIENT".getBytes(StandardCharsets.US_ASCII), "ID".getBytes(StandardCharsets.US_ASCII));

    private final StatefulRedisConnection<byte[], byte[]> connection;
    private final LinkRequest request;
    private final Set<CompletableFuture<List<Object>>> pending = ConcurrentHashMap.newKeySet();
    private final Consumer<CompletableFuture<Void>> onClosing;
    private final AtomicBoolean closing = new AtomicBoolean();
    private volatile long trackingId;
    private volatile String closed;
    private boolean told;

    private LettuceLink(
            StatefulRedisConnection<byte[], byte[]> connection,
            LinkRequest request,
            Consumer<CompletableFuture<Void>> onClosing) {
        this.connection = connection;
        this.request = request;
        this.onClosing = onClosing;
    }

    static CompletableFuture<Link> open(
            StatefulRedisConnection<byte[], byte[]> connection,
            LinkRequest request,
            Consumer<CompletableFuture<Void>> onClosing) {
        LettuceLink link = new LettuceLink(connection, request, onClosing);
        connection.addListener(link);
        if (!connection.isOpen()) {
            link.end("the server closed the connection");
        }
        if (request.purpose() != LinkRequest.Purpose.MONITOR) {
            return CompletableFuture.completedFuture(link);
        }
        connection.addListener(link::pushed);
        // Invalidation messages need RESP3. The reply to HELLO would tell it, but Lettuce keeps that for itself.
        return link.send(List.of(CLIENT_ID, hello())).thenApply(replies -> {
            boolean resp3 = replies.get(1) instanceof List<?> server && speaksResp3(server);
            link.trackingId = resp3 && replies.get(0) instanceof Long id ? id : 0;
            return link;
        });
    }

    /** Without arguments it changes nothing. */
    private static List<byte[]> hello() {
        return List.of("HELLO".getBytes(StandardCharsets.US_ASCII));
    }

    private static boolean speaksResp3(List<?> server) {
        for (int i = 0; i + 1 < server.size(); i += 2) {
            if (server.get(i) instanceof byte[] name && "proto".equals(new String(name, StandardCharsets.US_ASCII))) {
                return Long.valueOf(3).equals(server.get(i + 1));
            }
        }
        return false;
    }

    @Override
    public CompletableFuture<List<Object>> send(List<List<byte[]>> commands) {
        CompletableFuture<List<Object>> replies = new CompletableFuture<>();
        pending.add(replies);
        List<AsyncCommand<byte[], byte[], Object>> sent = new ArrayList<>(commands.size());
        for (List<byte[]> words : commands) {
            CommandArgs<byte[], byte[]> arguments = new CommandArgs<>(ByteArrayCodec.INSTANCE);
            words.subList(1, words.size()).forEach(arguments::add);
            sent.add(new AsyncCommand<>(new Command<>(new Keyword(words.get(0)), new RawOutput(), arguments)));
        }
        AsyncCommand<byte[], byte[], Object> last = sent.get(sent.size() - 1);
        last.whenComplete((reply, error) -> answered(sent, replies));
        if (closed != null) {
            fail(replies, null);
            return replies;
        }
        try {
            if (sent.size() == 1) {
                connection.dispatch(last);
            } else {
                connection.dispatch(sent);
            }
        } catch (RuntimeException rejected) {
            fail(replies, rejected);
            close("a command could not be sent: " + rejected.getMessage());
        }
        return replies;
    }

    private void answered(List<AsyncCommand<byte[], byte[], Object>> sent, CompletableFuture<List<Object>> replies) {
        List<Object> all = new ArrayList<>(sent.size());
        try {
            for (AsyncCommand<byte[], byte[], Object> each : sent) {
                all.add(each.toCompletableFuture().join());
            }
        } catch (RuntimeException failed) {
            // What cannot be understood ends the connection: nobody knows what follows.
            fail(replies, failed);
            close("a command failed: " + failed.getMessage());
            return;
        }
        pending.remove(replies);
        replies.complete(all);
    }

    private void fail(CompletableFuture<List<Object>> replies, Throwable cause) {
        pending.remove(replies);
        String why = closed == null ? "the connection failed: " + cause : closed;
        replies.completeExceptionally(new LinkException(request.endpoint() + ": " + why, cause));
    }

    private void pushed(PushMessage message) {
        if (!"invalidate".equals(message.getType())) {
            return;
        }
        List<Object> content = message.getContent(LettuceLink::copy);
        Object keys = content.size() < 2 ? null : content.get(1);
        if (keys instanceof List<?> list) {
            List<byte[]> names = new ArrayList<>();
            list.forEach(key -> names.add((byte[]) key));
            request.onInvalidation().accept(names);
        } else {
            request.onInvalidation().accept(null);
        }
    }

    private static Object copy(ByteBuffer buffer) {
        byte[] bytes = new byte[buffer.remaining()];
        buffer.duplicate().get(bytes);
        return bytes;
    }

    @Override
    public boolean isOpen() {
        return closed == null && connection.isOpen();
    }

    @Override
    public long trackingId() {
        return trackingId;
    }

    @Override
    public void close(String why) {
        end(why);
        if (connection.isOpen() && closing.compareAndSet(false, true)) {
            onClosing.accept(connection.closeAsync());
        }
    }

    @Override
    public void onRedisDisconnected(RedisChannelHandler<?, ?> gone) {
        end("the server closed the connection");
    }

    private void end(String why) {
        synchronized (this) {
            if (closed == null) {
                closed = why;
            }
            if (told) {
                return;
            }
            told = true;
        }
        for (CompletableFuture<List<Object>> each : List.copyOf(pending)) {
            fail(each, null);
        }
        request.onClose().run();
    }

    private record Keyword(byte[] word) implements ProtocolKeyword {
        @Override
        public byte[] getBytes() {
            return word;
        }

        /** Lettuce 6 asks for it, Lettuce 7 has it no more. */
        public String name() {
            return toString();
        }

        @Override
        public String toString() {
            return new String(word, StandardCharsets.US_ASCII);
        }
    }
}
