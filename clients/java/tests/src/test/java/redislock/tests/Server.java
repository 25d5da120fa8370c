package redislock.tests;

import java.io.BufferedInputStream;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.function.BooleanSupplier;
import java.util.stream.Stream;

import redislock.spi.Endpoint;

/** A server of a test's own, with the module, and an operator's connection to it. */
public final class Server implements AutoCloseable {
    private static final long DEADLINE = TimeUnit.SECONDS.toNanos(60);

    private final int port;
    private final Path directory;
    private final List<String> arguments;
    private Process process;
    private Socket socket;
    private InputStream input;

    private Server(int port, List<String> arguments) throws IOException {
        this.port = port;
        this.directory = Files.createTempDirectory("redis-lock");
        List<String> all = new ArrayList<>(List.of(
                System.getenv().getOrDefault("REDIS_SERVER", "redis-server"), "--port", "" + port,
                "--bind", "127.0.0.1", "--dir", directory.toString(), "--save", "", "--daemonize", "no"));
        if (!arguments.contains("--sentinel")) {
            all.add("--loadmodule");
            all.add(module());
        }
        all.addAll(arguments);
        this.arguments = all;
    }

    private static String module() {
        String module = System.getenv("REDIS_LOCK_MODULE");
        if (module == null) {
            throw new IllegalStateException("REDIS_LOCK_MODULE does not name the module");
        }
        return module;
    }

    /** Starts a server. A port that somebody else took meanwhile makes it try another. */
    public static Server start(String... arguments) {
        try {
            for (int i = 0; ; i++) {
                Server server = new Server(freePort(), List.of(arguments));
                try {
                    server.run();
                    return server;
                } catch (IllegalStateException taken) {
                    server.close();
                    if (i == 4) {
                        throw taken;
                    }
                }
            }
        } catch (IOException failed) {
            throw new UncheckedIOException(failed);
        }
    }

    private static int freePort() throws IOException {
        try (ServerSocket free = new ServerSocket(0, 1, InetAddress.getLoopbackAddress())) {
            return free.getLocalPort();
        }
    }

    /** Starts it, also again after {@link #kill}. */
    public void run() {
        try {
            Path log = directory.resolve("log");
            process = new ProcessBuilder(arguments).redirectErrorStream(true).redirectOutput(log.toFile()).start();
            long end = System.nanoTime() + DEADLINE;
            while (true) {
                if (!process.isAlive() || System.nanoTime() > end) {
                    throw new IllegalStateException("the server did not start: " + Files.readString(log));
                }
                try {
                    socket = new Socket(InetAddress.getLoopbackAddress(), port);
                    input = new BufferedInputStream(socket.getInputStream());
                    if ("PONG".equals(ask("PING"))) {
                        return;
                    }
                } catch (IOException | UncheckedIOException | IllegalArgumentException notYet) {
                    Thread.sleep(10);
                }
            }
        } catch (IOException | InterruptedException failed) {
            throw new IllegalStateException(failed);
        }
    }

    public Endpoint endpoint() {
        return new Endpoint("127.0.0.1", port);
    }

    public int port() {
        return port;
    }

    /** An operator's command. An error is an IllegalArgumentException. */
    public synchronized Object ask(Object... words) {
        try {
            ByteArrayOutputStream request = new ByteArrayOutputStream();
            request.write(("*" + words.length + "\r\n").getBytes(StandardCharsets.UTF_8));
            for (Object word : words) {
                byte[] bytes = word.toString().getBytes(StandardCharsets.UTF_8);
                request.write(("$" + bytes.length + "\r\n").getBytes(StandardCharsets.UTF_8));
                request.write(bytes);
                request.write("\r\n".getBytes(StandardCharsets.UTF_8));
            }
            socket.getOutputStream().write(request.toByteArray());
            return read();
        } catch (IOException failed) {
            throw new UncheckedIOException(failed);
        }
    }

    private Object read() throws IOException {
        String line = line();
        String rest = line.substring(1);
        switch (line.charAt(0)) {
            case '+':
                return rest;
            case '-':
                throw new IllegalArgumentException(rest);
            case ':':
                return Long.parseLong(rest);
            case '$':
                int length = Integer.parseInt(rest);
                if (length < 0) {
                    return null;
                }
                byte[] bytes = input.readNBytes(length + 2);
                return new String(bytes, 0, length, StandardCharsets.UTF_8);
            default:
                int count = Integer.parseInt(rest);
                List<Object> list = new ArrayList<>();
                for (int i = 0; i < count; i++) {
                    list.add(read());
                }
                return list;
        }
    }

    private String line() throws IOException {
        StringBuilder line = new StringBuilder();
        int c;
        while ((c = input.read()) != '\r') {
            if (c < 0) {
                throw new IOException("the server closed the operator's connection");
            }
            line.append((char) c);
        }
        input.read();
        return line.toString();
    }

    /** A number in INFO. */
    public long info(String section, String name) {
        return ((String) ask("INFO", section)).lines()
                .filter(line -> line.startsWith(name + ":"))
                .mapToLong(line -> Long.parseLong(line.substring(name.length() + 1).trim()))
                .findFirst()
                .orElseThrow();
    }

    /** How many clients wait for any lock. */
    public long waiters() {
        return info("redislock", "redislock_waiters");
    }

    /** How many keys there are. */
    public long keys() {
        return (Long) ask("DBSIZE");
    }

    public void hold(String key) {
        ask("LOCK.ACQUIRE", key, "operator", "PX", 600_000);
    }

    public void release(String key) {
        ask("LOCK.RELEASE", key, "operator");
    }

    public void signal(String name) {
        try {
            new ProcessBuilder("kill", "-" + name, "" + process.pid()).start().waitFor();
        } catch (IOException | InterruptedException failed) {
            throw new IllegalStateException(failed);
        }
    }

    public void kill() {
        process.destroyForcibly();
        try {
            process.waitFor();
            socket.close();
        } catch (IOException | InterruptedException failed) {
            throw new IllegalStateException(failed);
        }
    }

    /** Polls until it is so. */
    public static void until(String what, BooleanSupplier condition) {
        until(what, 60, condition);
    }

    /** Polls until it is so, for at most so many seconds. */
    public static void until(String what, int seconds, BooleanSupplier condition) {
        long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(seconds);
        while (!condition.getAsBoolean()) {
            if (System.nanoTime() > end) {
                throw new AssertionError("waited " + seconds + " s in vain: " + what);
            }
            try {
                Thread.sleep(5);
            } catch (InterruptedException interrupted) {
                throw new IllegalStateException(interrupted);
            }
        }
    }

    @Override
    public void close() {
        if (process != null) {
            process.destroyForcibly();
            try {
                process.waitFor();
            } catch (InterruptedException interrupted) {
                Thread.currentThread().interrupt();
            }
        }
        try (Stream<Path> files = Files.walk(directory)) {
            files.sorted(Comparator.reverseOrder()).forEach(file -> file.toFile().delete());
        } catch (IOException failed) {
            throw new UncheckedIOException(failed);
        }
    }
}
