//! Locks are keys: what operators do to keys ends holds, moves them or puts others in their place, and every waiter is
//! served, here, on replicas and in the AOF alike.

use support::{acquire, args, assert_same, holds, release, until, waiter, waiter_in, Pair, Server, Value};

/// Trap 11: a lock that an operator removes goes to the head waiter, and the replica and the AOF learn of it in that
/// order: first the end, then the grant.
#[test]
fn removed_lock_goes_to_the_head_waiter_everywhere() {
    let pair = Pair::start();
    for removal in [&["DEL", "k"][..], &["UNLINK", "k"], &["EVAL", "return redis.call('DEL', KEYS[1])", "1", "k"]] {
        let mut admin = pair.primary.client();
        let first = acquire(&mut admin, "k", "a");
        let mut b = waiter(&pair.primary, "k", "b");
        let mut c = waiter(&pair.primary, "k", "c");
        assert_eq!(admin.cmd(removal), 1);
        assert!(b.read().int() > first, "after {removal:?}");
        assert_eq!(admin.cmd(&["LOCK.EXTEND", "k", "a"]), 0);
        pair.primary.assert_waiting(&mut c);
        assert_eq!(admin.cmd(&["LOCK.RELEASE", "k", "c"]), 0);
        assert!(c.read().is_nil());
        pair.assert_same_everywhere();
        release(&mut pair.primary.client(), "k", "b");
    }
    pair.assert_clean();
}

/// Trap 12: a TTL that somebody set by hand ends the hold when it fires; the head waiter is granted everywhere.
#[test]
fn ttl_set_by_hand_ends_the_hold_and_the_waiter_is_granted_everywhere() {
    let pair = Pair::start();
    let mut admin = pair.primary.client();
    let first = acquire(&mut admin, "k", "a");
    acquire(&mut admin, "no-waiter", "a");
    let mut b = waiter(&pair.primary, "k", "b");
    assert_eq!(admin.cmd(&["PEXPIRE", "k", "50"]), 1);
    assert_eq!(admin.cmd(&["PEXPIRE", "no-waiter", "50"]), 1);
    assert!(b.read().int() > first);
    assert_eq!(admin.cmd(&["LOCK.EXTEND", "k", "a"]), 0);
    assert_eq!(admin.cmd(&["PTTL", "k"]), -1);
    until("the lock without waiters is gone", || pair.primary.cmd(&["DBSIZE"]) == 1);
    pair.assert_same_everywhere();
    release(&mut pair.primary.client(), "k", "b");
    pair.assert_clean();
}

/// Trap 13: when a lock's key is overwritten with another type, everybody in the queue is told so, and the new value stays.
#[test]
fn overwritten_lock_turns_its_waiters_away_and_leaves_the_new_value() {
    let pair = Pair::start();
    let mut admin = pair.primary.client();
    assert_eq!(admin.cmd(&["SET", "text", "x"]), "OK");
    let dump = admin.cmd(&["DUMP", "text"]).bytes().to_vec();
    let ways = [
        args!["SET", "k", "x"].to_vec(),
        args!["RENAME", "text", "k"].to_vec(),
        args!["RESTORE", "k", 0, dump, "REPLACE"].to_vec(),
        args!["COPY", "text", "k", "REPLACE"].to_vec(),
        args!["BITOP", "AND", "k", "text"].to_vec(),
    ];
    for way in ways {
        assert_eq!(admin.cmd(&["SET", "text", "x"]), "OK");
        acquire(&mut admin, "k", "a");
        let mut b = waiter(&pair.primary, "k", "b");
        let mut c = waiter(&pair.primary, "k", "c");
        let done = admin.cmd(&way);
        assert!(!done.is_err(), "{done:?}");
        for waiter in [&mut b, &mut c] {
            assert!(waiter.read().err_text().starts_with("WRONGTYPE "));
            assert_eq!(waiter.cmd(&["PING"]), "PONG");
        }
        assert!(admin.cmd(&["LOCK.RELEASE", "k", "a"]).err_text().starts_with("WRONGTYPE "));
        assert_eq!(admin.cmd(&["GET", "k"]), "x");
        assert_same(&pair.primary, &pair.replica);
        assert_eq!(admin.cmd(&["DEL", "k"]), 1);
    }
    admin.cmd(&["DEL", "text"]);
    pair.assert_same_everywhere();
    pair.assert_clean();
}

/// Trap 14: RENAME takes the hold along; those who wait under the old name get that, and the hold goes on under the new.
#[test]
fn renamed_lock_frees_the_old_name_and_is_held_under_the_new() {
    let Some(pair) = Pair::hearing_of_moves() else { return };
    let mut admin = pair.primary.client();
    let first = acquire(&mut admin, "k", "a");
    let mut b = waiter(&pair.primary, "k", "b");
    assert_eq!(admin.cmd(&["RENAME", "k", "k2"]), "OK");
    assert!(b.read().int() > first);
    assert_eq!(admin.cmd(&["LOCK.RELEASE", "k", "a"]), 0);
    let mut c = waiter(&pair.primary, "k2", "c");
    assert_eq!(admin.cmd(&args!["LOCK.EXTEND", "k2", "a", "FENCE", first]), 1);
    assert_same(&pair.primary, &pair.replica);
    // The lease went along: it ends the hold under the new name.
    assert_eq!(admin.cmd(&["LOCK.EXTEND", "k2", "a", "PX", "600000"]), 1);
    assert_eq!(admin.cmd(&["RENAME", "k2", "k3"]), "OK");
    let second = c.read().int();
    assert!(second > first);
    let mut d = waiter(&pair.primary, "k3", "d");
    let both = admin.pipeline(&[&["LOCK.EXTEND", "k3", "a", "PX", "100"][..], &["RENAME", "k3", "k4"]]);
    assert!(both[0] == 1 && both[1] == "OK", "{both:?}");
    assert!(d.read().int() > second);
    until("the renamed lock's lease ended it", || pair.primary.cmd(&["EXISTS", "k4"]) == 0);
    pair.assert_same_everywhere();
    let mut admin = pair.primary.client();
    for (key, owner) in [("k", "b"), ("k2", "c"), ("k3", "d")] {
        release(&mut admin, key, owner);
    }
    pair.assert_clean();
}

/// Trap 15: another lock's hold that is put onto a key (RENAME, RESTORE REPLACE) is the one to wait for, until its own
/// lease ends it.
#[test]
fn lock_put_onto_another_is_waited_for_until_its_lease_ends() {
    for way in ["RENAME", "RESTORE"] {
        let pair = Pair::start();
        let mut admin = pair.primary.client();
        acquire(&mut admin, "k", "a");
        let second = acquire(&mut admin, "other", "o");
        let mut b = waiter(&pair.primary, "k", "b");
        let dump = admin.cmd(&["DUMP", "other"]).bytes().to_vec();
        let done = match way {
            "RENAME" => admin.cmd(&["RENAME", "other", "k"]),
            _ => admin.cmd(&args!["RESTORE", "k", 0, dump, "REPLACE"]),
        };
        assert_eq!(done, "OK");
        assert_eq!(admin.cmd(&["LOCK.EXTEND", "k", "a"]), 0);
        assert_eq!(admin.cmd(&args!["LOCK.EXTEND", "k", "o", "FENCE", second]), 1);
        pair.primary.assert_waiting(&mut b);
        // The end of the other hold is now this key's: nobody touches the key before it comes.
        let script = "redis.call('LOCK.EXTEND', KEYS[1], 'o', 'PX', 200)
            return redis.call('RESTORE', KEYS[1], 0, redis.call('DUMP', KEYS[1]), 'REPLACE')";
        assert_eq!(admin.cmd(&["EVAL", script, "1", "k"]), "OK");
        assert!(b.read().int() > second, "after {way}");
        admin.cmd(&["LOCK.RELEASE", "other", "o"]);
        pair.assert_same_everywhere();
        release(&mut pair.primary.client(), "k", "b");
        pair.assert_clean();
    }
}

/// Trap 15: a copy would be a second holder of the same hold.
#[test]
fn copy_of_a_lock_is_refused() {
    let server = Server::start();
    let mut client = server.client();
    acquire(&mut client, "k", "a");
    assert!(client.cmd(&["COPY", "k", "k2"]).is_err());
    assert!(client.cmd(&["COPY", "k", "k", "DB", "1"]).is_err());
    assert_eq!(client.cmd(&["DBSIZE"]), 1);
    release(&mut client, "k", "a");
    server.assert_no_keys();
    server.assert_clean();
}

/// Trap 16: MOVE takes the hold and its lease to the other database; the waiters stay and are served there.
#[test]
fn moved_lock_is_held_in_the_other_database() {
    let Some(pair) = Pair::hearing_of_moves() else { return };
    let mut admin = pair.primary.client();
    let first = acquire(&mut admin, "k", "a");
    let mut b = waiter(&pair.primary, "k", "b");
    assert_eq!(admin.cmd(&["MOVE", "k", "1"]), 1);
    let second = b.read().int();
    assert!(second > first);
    let mut c = waiter_in(&pair.primary, 1, "k", "c");
    admin.select(1);
    let extension = args!["LOCK.EXTEND", "k", "a", "PX", 100, "FENCE", first];
    assert_eq!(admin.pipeline(&[&extension[..], &args!["MOVE", "k", 2]]), [Value::Int(1), Value::Int(1)]);
    assert!(c.read().int() > second);
    admin.select(2);
    until("the moved lock's lease ended it", || admin.cmd(&["EXISTS", "k"]) == 0);
    pair.assert_same_everywhere();
    let mut admin = pair.primary.client();
    release(&mut admin, "k", "b");
    admin.select(1);
    release(&mut admin, "k", "c");
    pair.assert_clean();
}

/// Trap 16: SWAPDB exchanges the holds; waiters stay in the database they asked in and wait for whoever holds there now.
#[test]
fn waiters_stay_in_their_database_when_databases_are_swapped() {
    let pair = Pair::start();
    let (mut zero, mut one) = (pair.primary.client(), pair.primary.client());
    one.select(1);
    acquire(&mut zero, "k", "a");
    acquire(&mut zero, "only-in-0", "a");
    acquire(&mut one, "k", "c");
    let mut b = waiter(&pair.primary, "k", "b");
    let mut d = waiter_in(&pair.primary, 1, "k", "d");
    let mut freed = waiter(&pair.primary, "only-in-0", "f");
    assert_eq!(zero.cmd(&["SWAPDB", "0", "1"]), "OK");
    // Nobody holds this one in database 0 any more.
    freed.read().int();
    assert!(holds(&mut zero, "k", "c") && !holds(&mut zero, "k", "a"));
    assert!(holds(&mut one, "k", "a") && !holds(&mut one, "k", "c"));
    pair.primary.assert_waiting(&mut b);
    pair.primary.assert_waiting(&mut d);
    release(&mut zero, "k", "c");
    b.read().int();
    pair.primary.assert_waiting(&mut d);
    // The deadline changed databases with its lock.
    let swap = &["SWAPDB", "0", "1"][..];
    let swapped = one.pipeline(&[&["LOCK.EXTEND", "k", "a", "PX", "100"], swap, swap]);
    assert!(swapped[0] == 1 && swapped[2] == "OK", "{swapped:?}");
    d.read().int();
    pair.assert_same_everywhere();
    let (mut zero, mut one) = (pair.primary.client(), pair.primary.client());
    one.select(1);
    release(&mut zero, "k", "b");
    release(&mut zero, "only-in-0", "f");
    release(&mut one, "k", "d");
    release(&mut one, "only-in-0", "a");
    pair.assert_clean();
}

/// Trap 17: a flush of any kind frees the locks it removes, and the waiters are granted after it, everywhere.
#[test]
fn flushed_locks_go_to_their_waiters_everywhere() {
    let pair = Pair::start();
    for flush in [["FLUSHALL", "SYNC"], ["FLUSHALL", "ASYNC"], ["FLUSHDB", "SYNC"], ["FLUSHDB", "ASYNC"]] {
        let mut admin = pair.primary.client();
        let first = acquire(&mut admin, "k", "a");
        for other in 0..300 {
            admin.cmd(&args!["LOCK.ACQUIRE", format!("other-{other}"), "a", "PX", 50]);
        }
        let mut b = waiter(&pair.primary, "k", "b");
        let mut c = waiter(&pair.primary, "k", "c");
        assert_eq!(admin.cmd(&flush), "OK");
        let second = b.read().int();
        assert!(second > first, "after {flush:?}");
        assert_eq!(admin.cmd(&["LOCK.EXTEND", "k", "a"]), 0);
        pair.primary.assert_waiting(&mut c);
        release(&mut admin, "k", "b");
        assert!(c.read().int() > second);
        pair.assert_same_everywhere();
        release(&mut pair.primary.client(), "k", "c");
    }
    pair.assert_clean();
}

/// Trap 17: a flush of one database leaves the locks of the others alone.
#[test]
fn flush_of_one_database_leaves_the_others() {
    let server = Server::start();
    let (mut zero, mut one) = (server.client(), server.client());
    one.select(1);
    acquire(&mut zero, "k", "a");
    acquire(&mut one, "k", "a");
    let mut b = waiter_in(&server, 1, "k", "b");
    assert_eq!(zero.cmd(&["FLUSHDB"]), "OK");
    assert!(holds(&mut one, "k", "a") && !holds(&mut zero, "k", "a"));
    server.assert_waiting(&mut b);
    assert_eq!(one.cmd(&["LOCK.EXTEND", "k", "a", "PX", "50"]), 1);
    b.read().int();
    release(&mut one, "k", "b");
    server.assert_no_keys();
    server.assert_clean();
}
