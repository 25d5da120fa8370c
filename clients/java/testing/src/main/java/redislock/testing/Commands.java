package redislock.testing;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.function.Consumer;
import java.util.function.LongFunction;

import redislock.spi.ReplyError;
import redislock.testing.Locks.Ask;
import redislock.testing.Locks.Holder;
import redislock.testing.Locks.Lock;
import redislock.testing.Locks.Waiter;

/** Carries out commands, all on one thread. */
final class Commands {
    private static final long MS = 1_000_000L;

    private final LongFunction<Runnable> wakeAfter;
    private final Locks locks = new Locks(this::changed);
    private final Set<String> others = new HashSet<>();
    private final Map<Long, Session> sessions = new LinkedHashMap<>();
    private Runnable wake = () -> {};
    private long ahead;
    private long lastSession;

    Commands(LongFunction<Runnable> wakeAfter) {
        this.wakeAfter = wakeAfter;
    }

    private long now() {
        return System.nanoTime() + ahead;
    }

    Session open(Consumer<List<byte[]>> onInvalidation) {
        Session session = new Session(++lastSession, onInvalidation);
        sessions.put(session.id, session);
        return session;
    }

    void close(Session session) {
        if (session.ended) {
            return;
        }
        session.ended = true;
        session.closed = true;
        sessions.remove(session.id);
        Waiter waiting = session.waiting;
        if (waiting != null) {
            locks.waiters.remove(waiting);
            waiting.reply.accept(Session.CLOSED);
        }
        session.queued.forEach(queued -> queued.reply().accept(Session.CLOSED));
        session.queued.clear();
        for (String key : List.copyOf(locks.locks.keySet())) {
            for (Holder holder : List.copyOf(locks.locks.get(key).holders.values())) {
                if (holder.session == session) {
                    locks.end(key, holder, holder.delay == 0 ? 0 : now() + holder.delay);
                }
            }
        }
        session.onClose.run();
        pass();
    }

    void closeAll() {
        List.copyOf(sessions.values()).forEach(this::close);
    }

    void advance(long nanos) {
        ahead += nanos;
        pass();
    }

    /** Ends what is over, grants what is free, and sees to it that the next end is noticed. */
    void pass() {
        wake.run();
        long now = now();
        locks.expire(now);
        locks.serve(now).forEach(Runnable::run);
        long next = locks.next();
        wake = next == Long.MAX_VALUE ? () -> {} : wakeAfter.apply(next - now());
    }

    private void changed(String key) {
        for (Session session : List.copyOf(sessions.values())) {
            Session target = sessions.get(session.redirect);
            if (session.tracked.remove(key) && target != null) {
                target.onInvalidation.accept(List.of(key.getBytes(StandardCharsets.UTF_8)));
            }
        }
    }

    /** Carries out a command, or keeps it until the one before is answered. */
    void run(Session session, List<byte[]> words, Consumer<Object> reply) {
        if (session.ended || session.closed) {
            reply.accept(Session.CLOSED);
        } else if (session.waiting != null) {
            session.queued.add(new Session.Queued(words, reply));
        } else {
            List<String> text = words.stream().map(word -> new String(word, StandardCharsets.UTF_8)).toList();
            locks.expire(now());
            Object answer;
            try {
                answer = answer(session, text, reply);
            } catch (NumberFormatException | IndexOutOfBoundsException malformed) {
                answer = new ReplyError("ERR syntax error");
            }
            if (answer != WAITS) {
                reply.accept(answer);
            }
            pass();
        }
    }

    private static final Object WAITS = new Object();

    private static Object ok() {
        return "OK".getBytes(StandardCharsets.US_ASCII);
    }

    private Object answer(Session session, List<String> words, Consumer<Object> reply) {
        String key = words.size() > 1 ? words.get(1) : "";
        switch (words.get(0).toUpperCase(Locale.ROOT)) {
            case "PING":
                return "PONG".getBytes(StandardCharsets.US_ASCII);
            case "CLIENT":
                return client(session, words);
            case "WAIT":
                return 0L;
            case "DBSIZE":
                return (long) locks.locks.size() + others.size();
            case "EXISTS":
                return locks.locks.containsKey(key) || others.contains(key) ? 1L : 0L;
            case "SET":
                locks.delete(key);
                others.add(key);
                return ok();
            case "DEL":
                boolean there = locks.locks.containsKey(key) | others.remove(key);
                locks.delete(key);
                return there ? 1L : 0L;
            case "FLUSHALL":
                List.copyOf(locks.locks.keySet()).forEach(locks::delete);
                others.clear();
                return ok();
            case "LOCK.ACQUIRE", "LOCK.MACQUIRE":
                return acquire(session, words, reply);
            case "LOCK.RELEASE", "LOCK.MRELEASE":
                return release(words);
            case "LOCK.EXTEND", "LOCK.MEXTEND":
                return extend(words);
            case "LOCK.CHECK":
                return check(session, words);
            case "LOCK.INFO":
                track(session, key);
                return Describing.info(locks, key, now());
            case "LOCK.LIST":
                return Describing.list(locks, words.subList(2, words.size()), now());
            case "LOCK.TOP":
                return Describing.top(locks, Integer.parseInt(words.get(2)), now());
            default:
                return new ReplyError("ERR unknown command '" + words.get(0) + "'");
        }
    }

    private static Object client(Session session, List<String> words) {
        if (words.get(1).equalsIgnoreCase("ID")) {
            return session.id;
        }
        if (words.get(1).equalsIgnoreCase("TRACKING")) {
            session.redirect = Long.parseLong(words.get(4));
        }
        return ok();
    }

    private static void track(Session session, String key) {
        if (session.redirect != 0) {
            session.tracked.add(key);
        }
    }

    /** The keys and the owner, and where the options begin. */
    private record Head(boolean multi, List<String> keys, String owner, int next) {
        static Head of(List<String> words) {
            if (!words.get(0).toUpperCase(Locale.ROOT).startsWith("LOCK.M")) {
                return new Head(false, List.of(words.get(1)), words.get(2), 3);
            }
            int count = Integer.parseInt(words.get(1));
            return new Head(true, words.subList(2, 2 + count), words.get(2 + count), 3 + count);
        }
    }

    private Object acquire(Session session, List<String> words, Consumer<Object> reply) {
        Head head = Head.of(words);
        Ask ask = new Ask();
        ask.keys = List.copyOf(head.keys);
        ask.owner = head.owner;
        ask.multi = head.multi;
        for (int i = head.next; i < words.size(); i++) {
            switch (words.get(i).toUpperCase(Locale.ROOT)) {
                case "PX" -> ask.lease = Long.parseLong(words.get(++i)) * MS;
                case "BLOCK" -> ask.block = Long.parseLong(words.get(++i)) * MS;
                case "SHARED" -> ask.shared = true;
                case "LIMIT" -> ask.limit = Long.parseLong(words.get(++i));
                case "WEIGHT" -> ask.weight = Long.parseLong(words.get(++i));
                case "SESSION" -> ask.bound = true;
                case "MAX" -> ask.max = Long.parseLong(words.get(++i)) * MS;
                case "DELAY" -> ask.delay = Long.parseLong(words.get(++i)) * MS;
                default -> {
                    return new ReplyError("ERR unknown option '" + words.get(i) + "'");
                }
            }
        }
        for (String key : ask.keys) {
            if (others.contains(key)) {
                return new ReplyError("WRONGTYPE Operation against a key holding the wrong kind of value");
            }
            Holder own = locks.holder(key, ask.owner);
            if (own != null && own.shared && !ask.shared) {
                return new ReplyError(
                        "ERR this owner holds the lock shared, release it first to ask for the exclusive hold");
            }
        }
        List<Long> fences = locks.tryGrant(ask, session, now());
        if (fences != null) {
            return ask.multi ? fences : fences.get(0);
        }
        if (ask.block < 0) {
            return null;
        }
        String cycle = locks.deadlock(ask);
        if (cycle != null) {
            return new ReplyError(cycle);
        }
        session.waiting = new Waiter(ask, session, answer -> ended(session, reply, answer), now());
        locks.waiters.add(session.waiting);
        return WAITS;
    }

    /** A wait is over: what is queued behind it is carried out. */
    private void ended(Session session, Consumer<Object> reply, Object answer) {
        session.waiting = null;
        reply.accept(answer);
        while (!session.queued.isEmpty() && session.waiting == null && answer != Session.CLOSED) {
            Session.Queued queued = session.queued.poll();
            run(session, queued.words(), queued.reply());
        }
    }

    private Object release(List<String> words) {
        Head head = Head.of(words);
        long fence = 0;
        long cool = 0;
        boolean downgrade = false;
        for (int i = head.next; i < words.size(); i++) {
            switch (words.get(i).toUpperCase(Locale.ROOT)) {
                case "FENCE" -> fence = Long.parseLong(words.get(++i));
                case "COOL" -> cool = Long.parseLong(words.get(++i)) * MS;
                case "DOWNGRADE" -> downgrade = true;
                default -> {
                    return new ReplyError("ERR unknown option '" + words.get(i) + "'");
                }
            }
        }
        long released = 0;
        for (String key : head.keys) {
            Holder holder = locks.holder(key, head.owner);
            boolean meant = holder != null && (fence == 0 || holder.fence == fence);
            if (meant && downgrade) {
                holder.shared = true;
                changed(key);
                return 1L;
            }
            if (meant && cool > 0 && holder.shared) {
                return new ReplyError("ERR COOL needs an exclusive hold, and this owner holds the lock shared");
            }
            if (meant) {
                locks.end(key, holder, cool == 0 ? 0 : now() + cool);
                released++;
            }
            if (fence == 0) {
                withdraw(key, head.owner);
            }
        }
        return released;
    }

    private void withdraw(String key, String owner) {
        for (Waiter waiter : List.copyOf(locks.waiters)) {
            if (waiter.ask.owner.equals(owner) && waiter.ask.keys.contains(key)) {
                locks.waiters.remove(waiter);
                waiter.reply.accept(null);
            }
        }
    }

    private Object extend(List<String> words) {
        Head head = Head.of(words);
        long lease = 0;
        long fence = 0;
        for (int i = head.next; i + 1 < words.size(); i += 2) {
            long number = Long.parseLong(words.get(i + 1));
            if (words.get(i).equalsIgnoreCase("PX")) {
                lease = number * MS;
            } else {
                fence = number;
            }
        }
        long extended = 0;
        for (String key : head.keys) {
            Holder holder = locks.holder(key, head.owner);
            if (holder != null && (fence == 0 || holder.fence == fence)) {
                holder.lease(now(), lease == 0 ? holder.leaseNanos : lease);
                extended++;
            }
        }
        return extended;
    }

    private Object check(Session session, List<String> words) {
        String key = words.get(1);
        track(session, key);
        Holder holder = locks.holder(key, words.get(2));
        if (holder == null) {
            return null;
        }
        List<Object> answer = new ArrayList<>(List.of(holder.fence, (holder.until - now()) / MS));
        if (words.size() > 3) {
            answer.add(Describing.waiters(locks, key));
        }
        return answer;
    }

    /** For the description of locks. */
    static boolean isShared(Lock lock) {
        return lock.holders.values().stream().allMatch(holder -> holder.shared);
    }
}
