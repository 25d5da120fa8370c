package redislock;

import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;

import redislock.internal.HoldHandle;
import redislock.internal.Request.Mode;

/** The holds of re-entrant locks, by thread. */
final class ThreadHolds {
    private final Map<Place, Entry> entries = new ConcurrentHashMap<>();

    private record Place(Thread thread, List<String> keys) {}

    private static final class Entry {
        private final HoldHandle handle;
        private final Mode mode;
        private int count = 1;

        Entry(HoldHandle handle, Mode mode) {
            this.handle = handle;
            this.mode = mode;
        }
    }

    interface Acquiring {
        HoldHandle acquire() throws InterruptedException;
    }

    /** Only the thread itself ever touches its entries. */
    Hold acquire(List<String> keys, Mode mode, Acquiring acquiring) throws InterruptedException {
        Place place = new Place(Thread.currentThread(), keys);
        Entry entry = entries.get(place);
        if (entry == null) {
            entry = new Entry(acquiring.acquire(), mode);
            entries.put(place, entry);
        } else {
            if (entry.mode != mode && entry.mode != Mode.EXCLUSIVE) {
                throw new IllegalStateException(
                        "this thread holds " + keys + " shared, and must release it before it asks for more");
            }
            // If the outer hold is lost, the inner work must not begin.
            entry.handle.requireHeld();
            entry.count++;
        }
        Entry held = entry;
        return new Hold(held.handle, () -> leave(place, held));
    }

    private void leave(Place place, Entry entry) {
        if (Thread.currentThread() != place.thread) {
            throw new IllegalMonitorStateException("a re-entrant hold is released by the thread that acquired it");
        }
        if (--entry.count == 0) {
            entries.remove(place, entry);
            entry.handle.release(java.time.Duration.ZERO);
        }
    }
}
