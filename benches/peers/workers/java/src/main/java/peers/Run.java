package peers;

import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicLong;

/**
 * The clients of a job: threads that take their lock, hold it, release it, and at once again.
 *
 * <p>How it stops: the client that holds the lock when the span is over keeps it until every wait
 * has been given up, and releases it last. So no wait is granted that nobody would end.
 */
final class Run {
    /** How long the clients may take to end, beside the time of one section. */
    private static final long ENDING_MS = 10_000;

    private static final long GIVE_UP_AGAIN_MS = 20;

    private final Job job;
    private final List<Looping> clients = new ArrayList<>();
    private final List<Watch> watches = new ArrayList<>();
    private final CompletableFuture<Void> failed = new CompletableFuture<>();
    private final AtomicLong errors = new AtomicLong();
    private final AtomicLong gaveUp = new AtomicLong();
    private final AtomicBoolean givingUp = new AtomicBoolean();
    private volatile boolean stopping;
    private long spanNanos;
    private volatile boolean measuring;

    Run(Job job, Peer peer) throws Exception {
        this.job = job;
        Watch one = new Watch(job.clients());
        for (int id = 0; id < job.clients(); id++) {
            Watch watch = job.contended() ? one : new Watch(job.clients());
            if (id == 0 || !job.contended()) {
                watches.add(watch);
            }
            clients.add(new Looping(id, peer.client(job.key(id)), watch));
        }
    }

    void start() {
        clients.forEach(client -> client.thread.start());
    }

    /** Completes exceptionally as soon as a client fails. */
    CompletableFuture<Void> failed() {
        return failed;
    }

    /** Lets the clients run for so long, or until one fails. */
    void letRun(double seconds) throws Exception {
        try {
            failed.get((long) (seconds * 1e9), TimeUnit.NANOSECONDS);
        } catch (TimeoutException over) {
            // As it should be.
        }
    }

    void measure() throws Exception {
        long begin = System.nanoTime();
        watches.forEach(Watch::begin);
        measuring = true;
        try {
            letRun(job.seconds());
        } finally {
            measuring = false;
            watches.forEach(Watch::end);
            spanNanos = System.nanoTime() - begin;
        }
    }

    /** The length of the measured span. */
    long spanNanos() {
        return spanNanos;
    }

    /** Lets every client end after its turn, and gives the waits up. */
    void stop() throws InterruptedException {
        stopping = true;
        long deadline = System.nanoTime() + (ENDING_MS * 1000 + job.sectionUs()) * 1000;
        while (!ended(null)) {
            if (System.nanoTime() > deadline) {
                fail(new IllegalStateException("clients did not end after the measured span"));
                return;
            }
            // After a failure there may be no holder any more who could do it.
            if (failed.isDone()) {
                giveUpWaits(null);
            }
            Thread.sleep(1);
        }
    }

    Totals totals() {
        Totals totals = new Totals(job.clients());
        watches.forEach(watch -> watch.addTo(totals));
        return totals;
    }

    long errors() {
        return errors.get();
    }

    long gaveUp() {
        return gaveUp.get();
    }

    private boolean ended(Looping except) {
        return clients.stream().allMatch(client -> client == except || client.ended());
    }

    private void giveUpWaits(Looping holder) throws InterruptedException {
        givingUp.set(true);
        for (Looping client : clients) {
            if (client != holder && !client.ended() && client.watch.waits(client.id)) {
                client.lock.giveUp(client.thread);
            }
        }
        Thread.sleep(1);
    }

    private void fail(Throwable cause) {
        errors.incrementAndGet();
        failed.completeExceptionally(cause);
    }

    /** One client. */
    private final class Looping {
        private final int id;
        private final Peer.Client lock;
        private final Watch watch;
        private final CountDownLatch end = new CountDownLatch(1);
        private final Thread thread;

        Looping(int id, Peer.Client lock, Watch watch) {
            this.id = id;
            this.lock = lock;
            this.watch = watch;
            thread = new Thread(this::loop, "client-" + id);
            thread.setDaemon(true);
        }

        boolean ended() {
            return end.getCount() == 0;
        }

        private void loop() {
            try {
                while (!stopping && turn()) {
                    // At once again.
                }
            } catch (Throwable cause) {
                fail(cause);
            } finally {
                end.countDown();
            }
        }

        /** @return false if the wait was given up */
        private boolean turn() throws Exception {
            watch.asked(id);
            if (!acquire()) {
                return false;
            }
            watch.granted(id, System.nanoTime());
            watch.section(job.contended() ? job.sectionUs() * 1000 : 0);
            if (stopping && job.contended()) {
                endOtherWaits();
            }
            watch.releasing();
            lock.release();
            return true;
        }

        private boolean acquire() throws Exception {
            try {
                while (!lock.acquire()) {
                    if (measuring) {
                        gaveUp.incrementAndGet();
                    }
                    if (stopping) {
                        return false;
                    }
                }
                return true;
            } catch (Exception ended) {
                if (givingUp.get()) {
                    return false;
                }
                throw ended;
            }
        }

        private void endOtherWaits() throws InterruptedException {
            long deadline = System.nanoTime() + ENDING_MS * 1_000_000 / 2;
            long again = System.nanoTime();
            while (!Run.this.ended(this) && System.nanoTime() < deadline) {
                if (System.nanoTime() >= again) {
                    giveUpWaits(this);
                    again = System.nanoTime() + GIVE_UP_AGAIN_MS * 1_000_000;
                }
                Thread.sleep(1);
            }
        }
    }
}
