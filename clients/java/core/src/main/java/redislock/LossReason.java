package redislock;

/** Why a hold has ended. */
public enum LossReason {
    /** This process's clock has passed the end of the lease. */
    EXPIRED,
    /** The server says that the owner holds nothing, or holds it under another fence. */
    GONE,
    /** The longest time of the hold, its {@code max}, is over. */
    MAX,
    /** The server refused each extension, so the lease ran out. */
    DENIED,
    /** The client was closed. */
    CLOSED,
    /** It was released by this process. */
    RELEASED
}
