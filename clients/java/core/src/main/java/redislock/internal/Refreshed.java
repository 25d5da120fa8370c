package redislock.internal;

import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;

/** What asks for the map of the servers: seldom, and once for all who want it. */
abstract class Refreshed implements Router {
    final Engine engine;
    private CompletableFuture<Void> running;
    private long askedAt = System.nanoTime() - 3_600_000_000_000L;

    /** Whether the map may be wrong. */
    volatile boolean doubtful = true;

    Refreshed(Engine engine) {
        this.engine = engine;
    }

    /**
     * Asks, unless an answer is younger than this. If nobody knows, the map stays as it was: it never fails.
     *
     * @param youngest milliseconds
     */
    final CompletableFuture<Void> refresh(long youngest) {
        CompletableFuture<Void> fresh;
        long pause;
        synchronized (this) {
            if (running != null) {
                return running;
            }
            fresh = running = new CompletableFuture<>();
            pause = askedAt + youngest * 1_000_000L - System.nanoTime();
        }
        Runnable ask = () -> ask()
                .copy()
                .orTimeout(5 * engine.options.requestTimeout().toNanos(), TimeUnit.NANOSECONDS)
                .whenComplete((done, error) -> {
                    synchronized (this) {
                        running = null;
                        askedAt = System.nanoTime();
                    }
                    fresh.complete(null);
                });
        if (pause <= 0) {
            ask.run();
        } else {
            engine.after(pause, ask);
        }
        return fresh;
    }

    /** Asks the servers, one after the other, until one knows. */
    abstract CompletableFuture<?> ask();

    /** Fails if the future is not done within the time-out for requests. */
    final <T> CompletableFuture<T> soon(CompletableFuture<T> future) {
        return future.copy().orTimeout(engine.options.requestTimeout().toNanos(), TimeUnit.NANOSECONDS);
    }
}
