package redislock.driver;

import java.util.concurrent.CancellationException;

import redislock.ClientClosedException;
import redislock.DeadlockException;
import redislock.NoPermissionException;
import redislock.NotAcquiredException;
import redislock.NotDurableException;
import redislock.NotHeldException;
import redislock.ServerException;
import redislock.TooManyException;
import redislock.UnreachableException;
import redislock.WrongTypeException;

/** Errors in the words of the protocol. */
final class Kinds {
    private Kinds() {}

    static String of(Throwable error) {
        if (error instanceof NotAcquiredException) {
            return "timeout";
        } else if (error instanceof CancellationException || error instanceof InterruptedException) {
            return "cancelled";
        } else if (error instanceof DeadlockException) {
            return "deadlock";
        } else if (error instanceof NotHeldException) {
            return "not-held";
        } else if (error instanceof WrongTypeException) {
            return "wrong-type";
        } else if (error instanceof NoPermissionException) {
            return "no-permission";
        } else if (error instanceof NotDurableException) {
            return "not-durable";
        } else if (error instanceof TooManyException) {
            return "too-many";
        } else if (error instanceof ServerException) {
            return "server";
        } else if (error instanceof UnreachableException) {
            return "connection";
        } else if (error instanceof ClientClosedException) {
            return "closed";
        } else if (error instanceof UnsupportedOperationException) {
            return "unsupported";
        }
        return "usage";
    }
}
