//! A replica whose wall clock differs from its primary's takes over: leases shift by the difference, and never grow; fences
//! rise. `partition.rs` tests cuts of the network with clocks apart.

use support::{acquire, args, clocks_can_be_wrong, until, until_synced, Server};

/// The lease that is running when the replica takes over, in milliseconds.
const LEASE_MS: i64 = 60_000;
/// How much of it may pass meanwhile on a busy machine.
const SPENT_MS: i64 = 9_000;
/// Two servers that count in milliseconds do not begin them at the same moment.
const ROUNDED_MS: i64 = 2;

/// A replica that is so many seconds ahead takes over: how much is left of the lease there.
fn left_after_takeover(ahead_s: i64) -> i64 {
    let old = Server::start();
    let new = Server::builder().clock_off_by(ahead_s).replica_of(&old).start();
    until_synced(&old, &new);
    old.cmd(&args!["LOCK.ACQUIRE", "k", "a", "PX", LEASE_MS]);
    until_synced(&old, &new);
    assert_eq!(new.cmd(&["REPLICAOF", "NO", "ONE"]), "OK");
    until("it is the primary", || new.info_field("replication", "role") == "master");
    new.cmd(&["LOCK.CHECK", "k", "a"]).array()[1].int()
}

#[test]
fn lease_shifts_by_the_difference_of_the_clocks_and_never_grows() {
    if !clocks_can_be_wrong() {
        return;
    }
    for (ahead_s, most_ms) in [(0, 60_000), (20, 40_000), (50, 10_000), (-20, 60_000), (-50, 60_000)] {
        let left = left_after_takeover(ahead_s);
        assert!(
            left <= most_ms + ROUNDED_MS && left > most_ms - SPENT_MS,
            "{ahead_s} s ahead: {left} ms left of {LEASE_MS}"
        );
    }
}

/// The old primary has not heard yet that it was replaced, and grants on.
#[test]
fn fences_rise_at_once_when_the_new_primary_is_ahead() {
    if !clocks_can_be_wrong() {
        return;
    }
    for ahead_s in [0, 20, 50] {
        let old = Server::start();
        let new = Server::builder().clock_off_by(ahead_s).replica_of(&old).start();
        until_synced(&old, &new);
        assert_eq!(new.cmd(&["REPLICAOF", "NO", "ONE"]), "OK");
        let mut last = 0;
        for n in 0..100 {
            let owner = format!("a{n}");
            last = acquire(&mut old.client(), "k", &owner);
            old.cmd(&["LOCK.RELEASE", "k", &owner]);
        }
        let fence = acquire(&mut new.client(), "k", "b");
        assert!(fence > last, "{ahead_s} s ahead: {fence} after {last}");
    }
}
