package redislock;

import java.time.Duration;
import java.util.List;

/**
 * Is told what becomes of locks. The methods run on the thread that does the work: they must be quick and must not
 * block. What they throw is logged and does no harm.
 */
public interface LockListener {
    /**
     * A lock was granted.
     *
     * @param keys the key or keys
     * @param owner the owner, as LOCK.INFO shows it
     * @param waited how long the acquisition took
     */
    default void acquired(List<String> keys, String owner, Duration waited) {}

    /**
     * An acquisition ended without the lock.
     *
     * @param keys the key or keys
     * @param owner the owner
     * @param waited how long the acquisition took
     * @param why the exception that its caller gets
     */
    default void refused(List<String> keys, String owner, Duration waited, Throwable why) {}

    /**
     * A hold was released.
     *
     * @param keys the key or keys
     * @param owner the owner
     * @param held how long it was held
     */
    default void released(List<String> keys, String owner, Duration held) {}

    /**
     * A hold was extended in the background.
     *
     * @param keys the key or keys
     * @param owner the owner
     */
    default void renewed(List<String> keys, String owner) {}

    /**
     * A hold was lost.
     *
     * @param keys the key or keys
     * @param owner the owner
     * @param held how long it was held
     * @param reason why it ended
     */
    default void lost(List<String> keys, String owner, Duration held, LossReason reason) {}
}
