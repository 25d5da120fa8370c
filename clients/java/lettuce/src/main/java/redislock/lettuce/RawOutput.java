package redislock.lettuce;

import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.List;

import io.lettuce.core.codec.ByteArrayCodec;
import io.lettuce.core.output.CommandOutput;
import redislock.spi.ReplyError;

/** Takes a reply of any kind as it is. An error of the server is a value like others. */
final class RawOutput extends CommandOutput<byte[], byte[], Object> {
    private final Deque<Aggregate> open = new ArrayDeque<>();

    private record Aggregate(List<Object> elements, int size) {}

    RawOutput() {
        super(ByteArrayCodec.INSTANCE, null);
    }

    private void add(Object value) {
        Object complete = value;
        while (true) {
            Aggregate around = open.peek();
            if (around == null) {
                output = complete;
                return;
            }
            around.elements.add(complete);
            if (around.elements.size() < around.size) {
                return;
            }
            complete = open.pop().elements;
        }
    }

    private void begin(int size) {
        if (size < 0) {
            add(null);
        } else if (size == 0) {
            add(new ArrayList<>());
        } else {
            open.push(new Aggregate(new ArrayList<>(), size));
        }
    }

    private static byte[] copy(ByteBuffer bytes) {
        if (bytes == null) {
            return null;
        }
        byte[] copy = new byte[bytes.remaining()];
        bytes.get(copy);
        return copy;
    }

    @Override
    public void set(ByteBuffer bytes) {
        add(copy(bytes));
    }

    @Override
    public void setSingle(ByteBuffer bytes) {
        add(copy(bytes));
    }

    @Override
    public void setBigNumber(ByteBuffer bytes) {
        add(copy(bytes));
    }

    @Override
    public void set(long integer) {
        add(integer);
    }

    @Override
    public void set(double number) {
        add(Double.toString(number).getBytes(StandardCharsets.US_ASCII));
    }

    @Override
    public void set(boolean value) {
        add(value ? 1L : 0L);
    }

    @Override
    public void setError(ByteBuffer text) {
        add(new ReplyError(new String(copy(text), StandardCharsets.UTF_8)));
    }

    @Override
    public void multi(int count) {
        begin(count);
    }

    @Override
    public void multiArray(int count) {
        begin(count);
    }

    @Override
    public void multiPush(int count) {
        begin(count);
    }

    @Override
    public void multiMap(int count) {
        begin(count < 0 ? count : 2 * count);
    }

    @Override
    public void multiSet(int count) {
        begin(count);
    }
}
