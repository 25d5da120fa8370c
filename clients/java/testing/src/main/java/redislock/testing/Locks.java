package redislock.testing;

import java.util.ArrayList;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.function.Consumer;

/** The locks, their holders and who waits. Times are nanoseconds of the server's clock. */
final class Locks {
    /** A hold of one key. */
    static final class Holder {
        final String owner;
        final long fence;
        final long grantedAt;
        final long max;
        final long delay;
        boolean shared;
        long limit;
        long weight = 1;
        long leaseNanos;
        long until;
        Session session;

        Holder(String owner, long fence, long now, Ask ask) {
            this.owner = owner;
            this.fence = fence;
            this.grantedAt = now;
            this.max = ask.max == 0 ? Long.MAX_VALUE : now + ask.max;
            this.delay = ask.delay;
            this.shared = ask.shared;
            this.limit = ask.limit;
            this.weight = ask.weight;
        }

        void lease(long now, long nanos) {
            leaseNanos = nanos;
            until = Math.min(max, now + nanos);
        }
    }

    /** What somebody asks for. */
    static final class Ask {
        List<String> keys;
        String owner;
        boolean multi;
        long lease = 30_000_000_000L;
        long block = -1;
        boolean shared;
        long limit;
        long weight = 1;
        boolean bound;
        long max;
        long delay;
    }

    /** Somebody who waits. */
    static final class Waiter {
        final Ask ask;
        final Session session;
        final Consumer<Object> reply;
        final long since;
        final long until;

        Waiter(Ask ask, Session session, Consumer<Object> reply, long now) {
            this.ask = ask;
            this.session = session;
            this.reply = reply;
            this.since = now;
            this.until = ask.block == 0 ? Long.MAX_VALUE : now + ask.block;
        }
    }

    /** One key. */
    static final class Lock {
        final Map<String, Holder> holders = new LinkedHashMap<>();
        long coolingUntil;

        boolean isFree() {
            return holders.isEmpty() && coolingUntil == 0;
        }
    }

    final Map<String, Lock> locks = new TreeMap<>();
    final Set<Waiter> waiters = new LinkedHashSet<>();
    private final Consumer<String> changed;
    private long lastFence = System.currentTimeMillis() * 1000;

    Locks(Consumer<String> changed) {
        this.changed = changed;
    }

    Holder holder(String key, String owner) {
        Lock lock = locks.get(key);
        return lock == null ? null : lock.holders.get(owner);
    }

    /** The fences, or null if the locks cannot be had now. */
    List<Long> tryGrant(Ask ask, Session session, long now) {
        for (String key : ask.keys) {
            Holder own = holder(key, ask.owner);
            if (own == null && (!fits(key, ask) || waitsFor(key, ask))) {
                return null;
            }
        }
        return grant(ask, session, now);
    }

    /** Whether somebody who came before waits for this key. */
    private boolean waitsFor(String key, Ask ask) {
        return waiters.stream().anyMatch(waiter -> waiter.ask != ask && waiter.ask.keys.contains(key));
    }

    private boolean fits(String key, Ask ask) {
        Lock lock = locks.get(key);
        if (lock == null || lock.isFree()) {
            return true;
        }
        if (lock.coolingUntil != 0 || !ask.shared) {
            return false;
        }
        long limit = ask.limit == 0 ? Long.MAX_VALUE : ask.limit;
        long used = ask.weight;
        for (Holder holder : lock.holders.values()) {
            if (!holder.shared) {
                return false;
            }
            limit = holder.limit == 0 ? limit : Math.min(limit, holder.limit);
            used += holder.weight;
        }
        return used <= limit;
    }

    private List<Long> grant(Ask ask, Session session, long now) {
        List<Long> fences = new ArrayList<>();
        for (String key : ask.keys) {
            Lock lock = locks.computeIfAbsent(key, unknown -> new Lock());
            Holder holder = lock.holders.get(ask.owner);
            if (holder == null) {
                lastFence = Math.max(lastFence + 1, System.currentTimeMillis() * 1000);
                holder = new Holder(ask.owner, lastFence, now, ask);
                holder.lease(now, ask.lease);
                lock.holders.put(ask.owner, holder);
                changed.accept(key);
            } else if (now + ask.lease > holder.until) {
                holder.lease(now, ask.lease);
            }
            holder.session = ask.bound ? session : null;
            fences.add(holder.fence);
        }
        return fences;
    }

    /** Ends a hold. */
    void end(String key, Holder holder, long cooling) {
        Lock lock = locks.get(key);
        lock.holders.remove(holder.owner);
        lock.coolingUntil = cooling;
        changed.accept(key);
        forget(key);
    }

    void forget(String key) {
        Lock lock = locks.get(key);
        if (lock != null && lock.isFree()) {
            locks.remove(key);
        }
    }

    void delete(String key) {
        if (locks.remove(key) != null) {
            changed.accept(key);
        }
    }

    /** Ends what is over by now. */
    void expire(long now) {
        for (String key : List.copyOf(locks.keySet())) {
            Lock lock = locks.get(key);
            for (Holder holder : List.copyOf(lock.holders.values())) {
                if (holder.until <= now) {
                    end(key, holder, holder.delay == 0 ? 0 : now + holder.delay);
                }
            }
            if (lock.coolingUntil != 0 && lock.coolingUntil <= now) {
                lock.coolingUntil = 0;
                changed.accept(key);
                forget(key);
            }
        }
    }

    /** Grants to those who wait, in their order, what can be granted. Each is told in the end. */
    List<Runnable> serve(long now) {
        List<Runnable> told = new ArrayList<>();
        Set<String> wanted = new HashSet<>();
        for (Waiter waiter : List.copyOf(waiters)) {
            Ask ask = waiter.ask;
            boolean first = ask.keys.stream().noneMatch(wanted::contains);
            boolean all = first && ask.keys.stream().allMatch(
                    key -> holder(key, ask.owner) != null || fits(key, ask));
            if (all) {
                waiters.remove(waiter);
                List<Long> fences = grant(ask, waiter.session, now);
                told.add(() -> waiter.reply.accept(ask.multi ? fences : fences.get(0)));
            } else if (waiter.until <= now) {
                waiters.remove(waiter);
                told.add(() -> waiter.reply.accept(null));
            } else {
                wanted.addAll(ask.keys);
            }
        }
        return told;
    }

    /** When the next thing ends by itself. */
    long next() {
        long next = Long.MAX_VALUE;
        for (Lock lock : locks.values()) {
            next = lock.coolingUntil == 0 ? next : Math.min(next, lock.coolingUntil);
            for (Holder holder : lock.holders.values()) {
                next = Math.min(next, holder.until);
            }
        }
        for (Waiter waiter : waiters) {
            next = Math.min(next, waiter.until);
        }
        return next;
    }

    /** The cycle that this wait would close, as the server words it, or null. */
    String deadlock(Ask ask) {
        if (ask.limit > 1) {
            return null;
        }
        List<String> steps = new ArrayList<>();
        return closes(ask, waiters.size(), ask.owner, steps, new HashSet<>())
                ? "DEADLOCK waiting would close a cycle: " + String.join(", ", steps)
                : null;
    }

    private boolean closes(Ask ask, int before, String target, List<String> steps, Set<String> seen) {
        for (String key : ask.keys) {
            for (String other : inTheWay(key, ask, before)) {
                steps.add("'" + ask.owner + "' waits for '" + other + "' (lock '" + key + "')");
                if (other.equals(target)) {
                    return true;
                }
                if (seen.add(other)) {
                    int place = 0;
                    for (Waiter waiter : waiters) {
                        if (waiter.ask.owner.equals(other) && waiter.ask.limit <= 1
                                && closes(waiter.ask, place, target, steps, seen)) {
                            return true;
                        }
                        place++;
                    }
                }
                steps.remove(steps.size() - 1);
            }
        }
        return false;
    }

    private List<String> inTheWay(String key, Ask ask, int before) {
        Set<String> owners = new LinkedHashSet<>();
        Lock lock = locks.get(key);
        if (lock != null) {
            lock.holders.values().stream()
                    .filter(holder -> !holder.owner.equals(ask.owner) && !(holder.shared && ask.shared))
                    .forEach(holder -> owners.add(holder.owner));
        }
        int place = 0;
        for (Waiter waiter : waiters) {
            if (place++ < before && waiter.ask.keys.contains(key) && !waiter.ask.owner.equals(ask.owner)) {
                owners.add(waiter.ask.owner);
            }
        }
        return List.copyOf(owners);
    }
}
