package redislock;

/**
 * Which locks to list.
 *
 * @param pattern only locks whose key matches this pattern, as in SCAN; null: all
 * @param owner only locks that this owner holds; null: all
 */
public record LockQuery(String pattern, String owner) {
    /**
     * All locks.
     *
     * @return a query without conditions
     */
    public static LockQuery all() {
        return new LockQuery(null, null);
    }

    /**
     * Only locks whose key matches a pattern.
     *
     * @param glob the pattern, as in SCAN, of at most 1024 bytes
     * @return a query with this condition too
     */
    public LockQuery matching(String glob) {
        return new LockQuery(glob, owner);
    }

    /**
     * Only locks that an owner holds.
     *
     * @param holder the owner, as LOCK.INFO shows it
     * @return a query with this condition too
     */
    public LockQuery ownedBy(String holder) {
        return new LockQuery(pattern, holder);
    }
}
