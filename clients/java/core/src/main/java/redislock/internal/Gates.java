package redislock.internal;

import java.util.ArrayDeque;
import java.util.Deque;
import java.util.HashMap;
import java.util.Map;

/** Lets at most so many pass for each name at a time, in the order in which they came. */
final class Gates<K> {
    private final int limit;
    private final Map<K, Gate> gates = new HashMap<>();

    Gates(int limit) {
        this.limit = limit;
    }

    /** A place before a gate, or inside. */
    final class Place {
        private final K name;
        private final Runnable entered;
        private boolean inside;
        private boolean left;

        private Place(K name, Runnable entered) {
            this.name = name;
            this.entered = entered;
        }

        /** Makes room for the next. May be called at any time, and twice. */
        void leave() {
            Place next = null;
            synchronized (gates) {
                if (left) {
                    return;
                }
                left = true;
                Gate gate = gates.get(name);
                if (!inside) {
                    gate.queue.remove(this);
                    return;
                }
                next = gate.queue.pollFirst();
                if (next != null) {
                    next.inside = true;
                } else if (--gate.inside == 0) {
                    gates.remove(name);
                }
            }
            if (next != null) {
                next.entered.run();
            }
        }
    }

    private final class Gate {
        private int inside;
        private final Deque<Place> queue = new ArrayDeque<>();
    }

    /** Calls back when there is room, perhaps at once. */
    Place enter(K name, Runnable entered) {
        Place place = new Place(name, entered);
        synchronized (gates) {
            Gate gate = gates.computeIfAbsent(name, unknown -> new Gate());
            if (gate.inside < limit) {
                gate.inside++;
                place.inside = true;
            } else {
                gate.queue.addLast(place);
                return place;
            }
        }
        entered.run();
        return place;
    }
}
