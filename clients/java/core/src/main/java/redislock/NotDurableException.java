package redislock;

/** Too few replicas confirmed the grant in time. The lock was released. */
public final class NotDurableException extends LockException {
    /** How many replicas confirmed the grant. */
    private final int confirmed;

    /** How many had to. */
    private final int wanted;

    /**
     * Makes an exception.
     *
     * @param message which lock
     * @param confirmed how many replicas confirmed the grant
     * @param wanted how many had to
     */
    public NotDurableException(String message, int confirmed, int wanted) {
        super(message);
        this.confirmed = confirmed;
        this.wanted = wanted;
    }

    /**
     * How many replicas confirmed the grant.
     *
     * @return from 0
     */
    public int confirmed() {
        return confirmed;
    }

    /**
     * How many replicas had to confirm the grant.
     *
     * @return from 1
     */
    public int wanted() {
        return wanted;
    }
}
