package redislock.driver;

import java.io.IOException;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.time.Duration;

import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import redislock.Hold;
import redislock.LockClient;
import redislock.LockException;
import redislock.testing.FakeLockServer;

/** Loads the classes that a client needs, as they are in an application that has run for a while. */
final class Warming {
    private Warming() {}

    static void up(String flavour) throws IOException {
        try (LockClient locks = LockClient.builder(new FakeLockServer().connector()).build();
                Hold hold = locks.lock("k").acquire(Duration.ofSeconds(30))) {
            locks.lock("k").tryAcquire(Duration.ofMillis(1));
            hold.check();
        } catch (InterruptedException stop) {
            Thread.currentThread().interrupt();
        }
        // A port where nobody listens.
        int port;
        try (ServerSocket socket = new ServerSocket(0, 1, InetAddress.getLoopbackAddress())) {
            port = socket.getLocalPort();
        }
        ObjectNode request = new ObjectMapper().createObjectNode().put("deployment", "single");
        request.putArray("urls").add("redis://127.0.0.1:" + port);
        if (!flavour.equals("fake")) {
            try (LockClient locks = Connecting.client(flavour, request)) {
                locks.lock("k").tryAcquire();
            } catch (LockException expected) {
                // Nobody listens.
            } catch (InterruptedException stop) {
                Thread.currentThread().interrupt();
            }
        }
    }
}
