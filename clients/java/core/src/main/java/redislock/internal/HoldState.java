package redislock.internal;

import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;

import redislock.LossReason;
import redislock.NotHeldException;
import redislock.spi.Link;

/** What a client knows about one hold. It ends once: by its release or by its loss. Nothing here does I/O. */
public final class HoldState {
    final Request request;
    final long[] fences;
    final long fence;
    final boolean renew;
    final int slot;
    final long grantedAt;
    final CompletableFuture<LossReason> lost = new CompletableFuture<>();

    private final LeaseClock clock;

    /** When the lease ends by this client's count, never later than the server's; and when {@code max} does. */
    private long until;

    private long most = Long.MAX_VALUE;
    private boolean bounded;

    private LossReason ended;
    private long version;
    private String refusal;

    /** How long an extension asks for. */
    volatile long leaseMs;

    /** Whether another request of its owner may still be on its way to a server. */
    volatile boolean stray;

    /** When the keeper looks at its end, and when it renews. Guarded by the keeper. */
    long expireDue = Long.MAX_VALUE;

    long renewDue = Long.MAX_VALUE;

    /** The connection of a session, and its node. */
    volatile Link link;

    volatile Node node;

    HoldState(Request request, long[] fences, LeaseClock clock, long sent, boolean renew, int slot) {
        this.request = request;
        this.fences = fences;
        this.clock = clock;
        this.renew = renew;
        this.slot = slot;
        this.leaseMs = request.leaseMs();
        long largest = 0;
        for (long each : fences) {
            largest = Math.max(largest, each);
        }
        this.fence = largest;
        this.grantedAt = clock.now();
        this.until = sent + leaseMs * 1_000_000L;
        if (request.maxMs() > 0) {
            bound(sent + request.maxMs() * 1_000_000L);
        }
    }

    synchronized long until() {
        return Math.min(until, most);
    }

    /** Nanoseconds that are surely left. */
    long remaining() {
        return until() - clock.now();
    }

    boolean isHeld() {
        return isOpen() && remaining() > 0;
    }

    /** Whether it is neither released nor known to be lost. */
    synchronized boolean isOpen() {
        return ended == null;
    }

    synchronized void bound(long end) {
        bounded = true;
        most = end;
    }

    /** Whether no extension can move its end any more, as far as the server's milliseconds can tell. */
    synchronized boolean isAtItsMost() {
        return bounded && most - until <= Math.min(leaseMs * 1_000_000L / 3, 1_000_000_000L);
    }

    synchronized long version() {
        return version;
    }

    synchronized void extended(long sent, long newLeaseMs) {
        until = sent + newLeaseMs * 1_000_000L;
        leaseMs = newLeaseMs;
        refusal = null;
        version++;
    }

    /** The server said how much is left. That may be less than thought, after somebody else's EXTEND. */
    synchronized void checked(long sent, long leftMs, long versionThen) {
        if (version == versionThen) {
            until = sent + leftMs * 1_000_000L;
        }
    }

    synchronized void refused(String text) {
        refusal = text;
    }

    /** It is released from now on. False if it had ended before. */
    synchronized boolean finish() {
        if (ended != null) {
            return false;
        }
        ended = LossReason.RELEASED;
        return true;
    }

    /** It is lost. False if it had ended before. Whoever wants to know is told by {@link #lost}. */
    synchronized boolean lose(LossReason reason) {
        if (ended != null) {
            return false;
        }
        ended = reason;
        return true;
    }

    /** Why it ended by its own clock. */
    synchronized LossReason whyExpired() {
        return isAtItsMost() ? LossReason.MAX : refusal != null ? LossReason.DENIED : LossReason.EXPIRED;
    }

    synchronized NotHeldException error() {
        LossReason reason = ended == null ? whyExpired() : ended;
        String why = switch (reason) {
            case RELEASED -> "was released";
            case EXPIRED -> "was lost: its lease is over by this process's clock";
            case MAX -> "was lost: its longest time is over";
            case DENIED -> "was lost: the server refused to extend it (" + refusal + ")";
            case CLOSED -> "was given up, because the client was closed";
            case GONE -> "was lost: the server says that it is not held any more";
        };
        return new NotHeldException(request.name() + " " + why, reason);
    }

    void requireHeld() {
        if (!isHeld()) {
            throw error();
        }
    }

    /** Whether these replies of LOCK.CHECK show the hold. If they do, what they say is learnt. */
    boolean learn(List<?> replies, long sent, long versionThen) {
        List<Long> left = new ArrayList<>();
        for (int i = 0; i < fences.length; i++) {
            if (!(replies.get(i) instanceof List<?> reply) || Replies.number(reply.get(0)) != fences[i]) {
                return false;
            }
            left.add(Replies.number(reply.get(1)));
        }
        checked(sent, left.stream().min(Long::compare).orElseThrow(), versionThen);
        return true;
    }
}
