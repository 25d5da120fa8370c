package redislock.internal;

import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;

import redislock.LockException;

/** Blocking for what is asynchronous. */
public final class Waits {
    private Waits() {}

    /** The result, or the exception. An interrupt is kept for later: what is waited for takes seconds at most. */
    public static <T> T uninterruptibly(CompletableFuture<T> future) {
        boolean interrupted = false;
        try {
            while (true) {
                try {
                    return future.get();
                } catch (InterruptedException again) {
                    interrupted = true;
                } catch (ExecutionException failed) {
                    throw unchecked(failed);
                }
            }
        } finally {
            if (interrupted) {
                Thread.currentThread().interrupt();
            }
        }
    }

    /** What a caller is shown. Its stack trace is the caller's, and that of the failure is its cause. */
    public static RuntimeException unchecked(Throwable error) {
        Throwable cause = Faults.unwrap(error);
        if (cause instanceof RuntimeException known) {
            known.addSuppressed(new CalledFrom());
            return known;
        }
        LockException wrapped = new LockException(String.valueOf(cause));
        wrapped.initCause(cause);
        return wrapped;
    }

    /** Shows in the stack trace of an exception who waited for it. */
    private static final class CalledFrom extends Exception {
        CalledFrom() {
            super("the call was made here");
        }
    }
}
