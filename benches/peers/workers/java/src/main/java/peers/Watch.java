package peers;

import java.util.Arrays;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLong;

/**
 * Watches one lock from the side of its clients: that it excludes, how long it lets wait, whom it
 * lets pass. Times are those of {@link System#nanoTime}.
 */
final class Watch {
    /** Who began to wait this much later and is served first has overtaken. */
    private static final long OVERTAKEN_NANOS = 5_000_000;

    private final AtomicInteger holders = new AtomicInteger();
    private final AtomicLong breaches = new AtomicLong();

    /** Neither atomic nor volatile: only the lock under test keeps its updates apart. */
    private long counter;

    /** Since when each client waits, in the order in which they began. */
    private final Map<Integer, Long> waiting = new LinkedHashMap<>();

    /** The waits of each client that were granted in the measured span. */
    private final Samples[] waits;

    /** How long each client that waited at the end of the span had waited by then. */
    private final Map<Integer, Long> pending = new HashMap<>();

    private final Samples handoffs = new Samples();
    private boolean measuring;
    private boolean released;
    private long releasedAt;
    private long grants;
    private long overtakes;
    private long sections;
    private long sectionNanos;

    Watch(int clients) {
        waits = new Samples[clients];
        Arrays.setAll(waits, client -> new Samples());
    }

    /** The client is about to ask for the lock. */
    synchronized void asked(int client) {
        waiting.put(client, System.nanoTime());
    }

    /** The client has the lock since {@code at}. */
    synchronized void granted(int client, long at) {
        long asked = waiting.remove(client);
        grants++;
        if (measuring) {
            waits[client].add(at - asked);
            if (released) {
                handoffs.add(at - releasedAt);
            }
            if (!waiting.isEmpty()
                    && asked - waiting.values().iterator().next() > OVERTAKEN_NANOS) {
                overtakes++;
            }
        }
        released = false;
    }

    /** The client is about to release the lock. */
    synchronized void releasing() {
        released = true;
        releasedAt = System.nanoTime();
    }

    synchronized boolean waits(int client) {
        return waiting.containsKey(client);
    }

    /** Does what a holder does for so long, and sees whether it is alone. */
    void section(long nanos) {
        long begin = System.nanoTime();
        if (holders.getAndIncrement() != 0) {
            breaches.incrementAndGet();
        }
        long before = counter;
        if (nanos > 0) {
            Pause.until(begin + nanos, nanos);
        }
        counter = before + 1;
        holders.getAndDecrement();
        long took = System.nanoTime() - begin;
        synchronized (this) {
            if (measuring) {
                sections++;
                sectionNanos += took;
            }
        }
    }

    synchronized void begin() {
        measuring = true;
    }

    /** Ends the measured span; who still waits counts with the age of the wait. */
    synchronized void end() {
        if (!measuring) {
            return;
        }
        measuring = false;
        long now = System.nanoTime();
        waiting.forEach((client, asked) -> pending.put(client, now - asked));
    }

    /** Adds what was seen. Only when all clients have ended, the count of violations is right. */
    synchronized void addTo(Totals totals) {
        for (int client = 0; client < waits.length; client++) {
            totals.waits.get(client).addAll(waits[client]);
        }
        totals.pending.putAll(pending);
        totals.handoffs.addAll(handoffs);
        totals.overtakes += overtakes;
        totals.grantsTotal += grants;
        totals.violations += breaches.get() + Math.abs(grants - counter);
        totals.sections += sections;
        totals.sectionNanos += sectionNanos;
    }
}
