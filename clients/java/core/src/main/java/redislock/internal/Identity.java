package redislock.internal;

import java.net.InetAddress;
import java.net.UnknownHostException;
import java.nio.charset.StandardCharsets;
import java.security.SecureRandom;
import java.util.HexFormat;

/** Owners of the form label/host/pid/random, so that LOCK.INFO leads to the process. */
final class Identity {
    private static final SecureRandom RANDOM = new SecureRandom();
    private static final int MOST = 1000;

    private final String prefix;

    Identity(String label) {
        String process = host() + "/" + ProcessHandle.current().pid();
        prefix = label == null || label.isEmpty() ? process : label + "/" + process;
        if (prefix.getBytes(StandardCharsets.UTF_8).length > MOST) {
            throw new IllegalArgumentException(
                    "the label is too long: label, host and process id take at most " + MOST + " bytes together");
        }
    }

    String newOwner() {
        byte[] random = new byte[10];
        RANDOM.nextBytes(random);
        return prefix + "/" + HexFormat.of().formatHex(random);
    }

    /** As CLIENT SETNAME takes it: printable, without spaces. */
    String clientName() {
        StringBuilder name = new StringBuilder("redis-lock:");
        prefix.chars().forEach(c -> name.append(c > ' ' && c <= '~' ? (char) c : '_'));
        return name.toString();
    }

    private static String host() {
        try {
            return InetAddress.getLocalHost().getHostName();
        } catch (UnknownHostException unknown) {
            String host = System.getenv("HOSTNAME");
            return host == null || host.isEmpty() ? "unknown" : host;
        }
    }
}
