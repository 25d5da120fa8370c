package redislock.tests;

import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.io.UncheckedIOException;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ThreadLocalRandom;

import redislock.spi.Endpoint;

/** Stands between a client and a server, delays requests that contain a word, and closes connections. */
final class Relay implements AutoCloseable {
    private final ServerSocket listening;
    private final int target;
    private final Set<Socket> sockets = ConcurrentHashMap.newKeySet();
    private volatile String delayed;
    private volatile int least;
    private volatile int most;

    Relay(int target) {
        this.target = target;
        try {
            listening = new ServerSocket(0, 1000, InetAddress.getLoopbackAddress());
        } catch (IOException failed) {
            throw new UncheckedIOException(failed);
        }
        run(this::accept);
    }

    Endpoint endpoint() {
        return new Endpoint("127.0.0.1", listening.getLocalPort());
    }

    /** Each piece that a client sends and that contains this word is held back for so many milliseconds. */
    void delay(String word, int atLeast, int atMost) {
        least = atLeast;
        most = atMost;
        delayed = word;
    }

    void closeAll() {
        sockets.forEach(Relay::close);
        sockets.clear();
    }

    private static void run(Runnable task) {
        Thread thread = new Thread(task, "relay");
        thread.setDaemon(true);
        thread.start();
    }

    private void accept() {
        try {
            while (true) {
                Socket client = listening.accept();
                Socket server = connect();
                if (server == null) {
                    close(client);
                    continue;
                }
                client.setTcpNoDelay(true);
                server.setTcpNoDelay(true);
                sockets.add(client);
                sockets.add(server);
                run(() -> copy(client, server, true));
                run(() -> copy(server, client, false));
            }
        } catch (IOException closed) {
            closeAll();
        }
    }

    private Socket connect() {
        try {
            return new Socket(InetAddress.getLoopbackAddress(), target);
        } catch (IOException refused) {
            return null;
        }
    }

    private void copy(Socket from, Socket to, boolean requests) {
        byte[] buffer = new byte[65536];
        try {
            InputStream input = from.getInputStream();
            OutputStream output = to.getOutputStream();
            int length;
            while ((length = input.read(buffer)) > 0) {
                String word = delayed;
                if (requests && word != null
                        && new String(buffer, 0, length, StandardCharsets.ISO_8859_1).contains(word)) {
                    Thread.sleep(ThreadLocalRandom.current().nextInt(least, most));
                }
                output.write(buffer, 0, length);
            }
        } catch (IOException | InterruptedException broken) {
            // Both directions end.
        } finally {
            close(from);
            close(to);
            sockets.remove(from);
            sockets.remove(to);
        }
    }

    private static void close(Socket socket) {
        try {
            socket.close();
        } catch (IOException already) {
            // It is closed.
        }
    }

    @Override
    public void close() {
        try {
            listening.close();
        } catch (IOException already) {
            // It is closed.
        }
        closeAll();
    }
}
