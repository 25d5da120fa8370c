package redislock.internal;

import java.util.Set;
import java.util.concurrent.CompletionException;
import java.util.concurrent.ExecutionException;

import redislock.spi.Endpoint;
import redislock.spi.ReplyError;

/** What errors mean. */
final class Faults {
    /** A wait outlives these: it asks again. */
    private static final Set<String> PASSING = Set.of(
            "TRYAGAIN", "CLUSTERDOWN", "MASTERDOWN", "LOADING", "READONLY", "UNBLOCKED", "MOVED", "ASK");

    /** After these the node may not be the primary any more. */
    private static final Set<String> DOUBTFUL =
            Set.of("READONLY", "UNBLOCKED", "CLUSTERDOWN", "MASTERDOWN", "LOADING");

    private Faults() {}

    static boolean passes(ReplyError error) {
        return PASSING.contains(error.code());
    }

    static boolean isDoubtful(ReplyError error) {
        return DOUBTFUL.contains(error.code());
    }

    /** Where -MOVED and -ASK point. */
    record Redirection(boolean ask, int slot, Endpoint endpoint) {}

    /** Null for any other error. The host is empty if the server does not know its own. */
    static Redirection redirection(ReplyError error) {
        String code = error.code();
        if (!code.equals("MOVED") && !code.equals("ASK")) {
            return null;
        }
        String[] words = error.text().split(" ");
        int colon = words.length < 3 ? -1 : words[2].lastIndexOf(':');
        if (colon < 0) {
            return null;
        }
        try {
            int port = Integer.parseInt(words[2].substring(colon + 1));
            Endpoint endpoint = new Endpoint(words[2].substring(0, colon), port);
            return new Redirection(code.equals("ASK"), Integer.parseInt(words[1]), endpoint);
        } catch (IllegalArgumentException malformed) {
            return null;
        }
    }

    static Throwable unwrap(Throwable error) {
        while ((error instanceof CompletionException || error instanceof ExecutionException)
                && error.getCause() != null) {
            error = error.getCause();
        }
        return error;
    }

    /** The login that a server refused, if that is why a connection could not be made; else null. */
    static ReplyError refusedLogin(Throwable error) {
        for (Throwable cause = error; cause != null; cause = cause.getCause()) {
            String text = String.valueOf(cause.getMessage());
            if (text.startsWith("WRONGPASS ") || text.startsWith("NOPERM ") || text.startsWith("NOAUTH ")) {
                return new ReplyError(text);
            }
        }
        return null;
    }
}
