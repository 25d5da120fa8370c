//! Locks are keys, with shared holders: an operator removes all holds at once, moves them together, or puts them in
//! another lock's place.

use support::{
    args, assert_both_clean, exec, say, until, until_some, until_synced, waiter_in, Client, Pair, Server, Value,
};

use std::time::Duration;

/// Takes `key`, shared and for longer than any test: the fence.
#[track_caller]
fn share(server: &Server, key: &str, owner: &str) -> i64 {
    say(server, &format!("LOCK.ACQUIRE {key} {owner} SHARED PX 600000")).int()
}

/// A new client that waits for `k` without end, shared.
#[track_caller]
fn reader(server: &Server, owner: &str) -> Client {
    let mut client = server.client();
    let ask = ["LOCK.ACQUIRE", "k", owner, "SHARED", "PX", "600000", "BLOCK", "0"];
    server.send_to_wait(&mut client, &ask);
    client
}

#[track_caller]
fn release(server: &Server, key: &str, owners: &[&str]) {
    for owner in owners {
        assert_eq!(say(server, &format!("LOCK.RELEASE {key} {owner}")), 1, "{owner} should hold {key}");
    }
}

/// The holders of the key in the order of their fences.
#[track_caller]
fn holders(server: &Server, key: &str) -> Vec<String> {
    let info = say(server, &format!("LOCK.INFO {key}"));
    match info.is_nil() {
        true => Vec::new(),
        false => info.get("holders").array().iter().map(|hold| hold.get("owner").text()).collect(),
    }
}

/// Traps 11, 12, 17: whatever removes the key ends all shared holds, and the readers at the head come in together, in that
/// order everywhere.
#[test]
fn removed_shared_lock_goes_to_the_readers_at_the_head_everywhere() {
    let pair = Pair::start();
    let server = &pair.primary;
    for removal in ["DEL k", "UNLINK k", "FLUSHALL SYNC", "FLUSHALL ASYNC", "FLUSHDB ASYNC", "PEXPIRE k 50"] {
        let first = share(server, "k", "a");
        say(server, "LOCK.ACQUIRE k strict SHARED LIMIT 2 PX 600000").int();
        let (mut b, mut c) = (reader(server, "b"), reader(server, "c"));
        let mut w = waiter_in(server, 0, "k", "w");
        let answers = exec(&mut server.client(), &[removal, "LOCK.ACQUIRE k new SHARED"]);
        assert!(!answers[0].is_err() && answers[1].is_nil(), "{answers:?}");
        let second = b.read().int();
        assert!(second > first && c.read().int() > second, "after {removal}");
        assert_eq!(holders(server, "k"), ["b", "c"], "after {removal}");
        server.assert_waiting(&mut w);
        assert_eq!(say(server, "LOCK.RELEASE k w"), 0);
        assert!(w.read().is_nil());
        for gone in ["a", "strict"] {
            assert_eq!(say(server, &format!("LOCK.EXTEND k {gone}")), 0);
        }
        pair.assert_same_everywhere();
        release(server, "k", &["b", "c"]);
    }
    assert_both_clean(&pair.primary, &pair.replica);
}

/// Trap 13: readers and writers alike are told of a key that became another type.
#[test]
fn overwritten_shared_lock_turns_all_waiters_away() {
    let pair = Pair::start();
    let server = &pair.primary;
    share(server, "k", "a");
    share(server, "k", "b");
    let mut w = waiter_in(server, 0, "k", "w");
    let mut r = reader(server, "r");
    assert_eq!(say(server, "SET k x"), "OK");
    for client in [&mut w, &mut r] {
        assert!(client.read().err_text().starts_with("WRONGTYPE "));
    }
    for command in ["LOCK.ACQUIRE k r SHARED", "LOCK.RELEASE k a DOWNGRADE", "LOCK.RELEASE k b", "LOCK.CHECK k a"] {
        assert!(say(server, command).err_text().starts_with("WRONGTYPE "), "{command}");
    }
    assert_eq!(say(server, "GET k"), "x");
    pair.assert_same_everywhere();
    assert_eq!(say(server, "DEL k"), 1);
    assert_both_clean(&pair.primary, &pair.replica);
}

/// Traps 14 and 16: RENAME and MOVE take all shared holds along, each with its fence and lease; the readers who wait under
/// the old name get that.
#[test]
fn moved_shared_holds_go_on_together_where_they_are_then() {
    let pair = Pair::start();
    let server = &pair.primary;
    if !server.hears_of_moved_keys() {
        return;
    }
    let (a, b) = (share(server, "k", "a"), share(server, "k", "b"));
    say(server, "LOCK.ACQUIRE k strict SHARED LIMIT 3 PX 600000").int();
    let mut c = reader(server, "c");
    assert_eq!(say(server, "RENAME k k2"), "OK");
    c.read().int();
    assert_eq!(
        (holders(server, "k"), holders(server, "k2")),
        (vec!["c".into()], vec!["a".into(), "b".into(), "strict".into()])
    );
    for (owner, fence) in [("a", a), ("b", b)] {
        assert_eq!(say(server, &format!("LOCK.RELEASE k {owner}")), 0);
        assert_eq!(say(server, &format!("LOCK.EXTEND k2 {owner} FENCE {fence}")), 1);
    }
    // The limit went along too, and so do the leases: one ends the turn after, in another database.
    assert_eq!(say(server, "LOCK.ACQUIRE k2 new SHARED"), Value::NullBulk);
    let mut one = server.client();
    exec(&mut one, &["LOCK.EXTEND k2 a PX 100", "MOVE k2 1"]);
    one.select(1);
    let there = |client: &mut Client| client.cmd(&["LOCK.INFO", "k2"]).get("holders-count").int();
    until("the moved lease is over", || there(&mut one) == 2);
    let mut d = server.client();
    d.select(1);
    server.send_to_wait(&mut d, &["LOCK.ACQUIRE", "k2", "d", "PX", "600000", "BLOCK", "0"]);
    for owner in ["b", "strict"] {
        assert_eq!(one.cmd(&["LOCK.EXTEND", "k2", owner, "PX", "50"]), 1);
    }
    d.read().int();
    pair.assert_same_everywhere();
    release(server, "k", &["c"]);
    let mut one = server.client();
    one.select(1);
    assert_eq!(one.cmd(&["LOCK.RELEASE", "k2", "d"]), 1);
    assert_both_clean(&pair.primary, &pair.replica);
}

/// Trap 15: shared holds that are put onto a key (RENAME, RESTORE) are those that count: readers come in to them, as far
/// as their limits allow, writers wait, and each ends by its own lease.
#[test]
fn shared_holds_put_onto_a_key_are_joined_by_readers_and_waited_for_by_writers() {
    for way in ["RENAME", "RESTORE"] {
        let pair = Pair::start();
        let server = &pair.primary;
        say(server, "LOCK.ACQUIRE k x PX 600000").int();
        let o = share(server, "other", "o");
        let p = say(server, "LOCK.ACQUIRE other p SHARED LIMIT 3 PX 600000").int();
        let (mut b, mut c) = (reader(server, "b"), reader(server, "c"));
        let mut w = waiter_in(server, 0, "k", "w");
        let dump = say(server, "DUMP other").bytes().to_vec();
        let done = match way {
            "RENAME" => say(server, "RENAME other k"),
            _ => server.cmd(&args!["RESTORE", "k", 0, dump, "REPLACE"]),
        };
        assert_eq!(done, "OK");
        assert!(b.read().int() > p, "{way}");
        assert_eq!(holders(server, "k"), ["o", "p", "b"], "{way}");
        assert_eq!(say(server, "LOCK.EXTEND k x"), 0);
        assert_eq!(say(server, &format!("LOCK.EXTEND k o FENCE {o}")), 1);
        server.assert_waiting(&mut c);
        assert_eq!(say(server, &format!("LOCK.EXTEND k p FENCE {p} PX 100")), 1);
        c.read().int();
        server.assert_waiting(&mut w);
        assert_eq!(holders(server, "k"), ["o", "b", "c"], "{way}");
        release(server, "k", &["o", "b", "c"]);
        w.read().int();
        say(server, "DEL other").int();
        pair.assert_same_everywhere();
        release(server, "k", &["w"]);
        assert_both_clean(&pair.primary, &pair.replica);
    }
}

/// Trap 15: no copy of a shared lock, and a reader whose own hold is put onto the key is answered with it.
#[test]
fn shared_lock_is_not_copied_and_a_restored_reader_is_answered() {
    let server = Server::start();
    let first = share(&server, "k", "b");
    share(&server, "k", "c");
    assert!(say(&server, "COPY k k2").is_err());
    let dump = say(&server, "DUMP k").bytes().to_vec();
    assert_eq!(say(&server, "DEL k"), 1);
    say(&server, "LOCK.ACQUIRE k x").int();
    let mut w = waiter_in(&server, 0, "k", "w");
    let (mut b, mut c) = (reader(&server, "b"), server.client());
    server.send_to_wait(&mut c, &["LOCK.ACQUIRE", "k", "c", "BLOCK", "0"]);
    assert_eq!(server.cmd(&args!["RESTORE", "k", 0, dump, "REPLACE"]), "OK");
    // A hold that did not come from this server's own grant draws a new fence.
    assert!(b.read().int() > first);
    assert!(c.read().err_text().contains("release"), "a shared holder that waits for the exclusive hold");
    server.assert_waiting(&mut w);
    release(&server, "k", &["b", "c"]);
    w.read().int();
    release(&server, "k", &["w"]);
    server.assert_no_keys();
    server.assert_clean();
}

/// Trap 15: if a reader is first in the queue when its own hold is restored onto the key, it reacquires as any holder does:
/// the limit in force stays, and the hold does not end earlier.
#[test]
fn first_reader_whose_own_hold_is_restored_keeps_its_limit_and_its_end() {
    let server = Server::start();
    let first = say(&server, "LOCK.ACQUIRE k b SHARED LIMIT 3 PX 600000").int();
    share(&server, "k", "c");
    let dump = say(&server, "DUMP k").bytes().to_vec();
    assert_eq!(say(&server, "DEL k"), 1);
    say(&server, "LOCK.ACQUIRE k x").int();
    let mut b = server.client();
    server.send_to_wait(&mut b, &["LOCK.ACQUIRE", "k", "b", "SHARED", "PX", "5000", "BLOCK", "0"]);
    assert_eq!(server.cmd(&args!["RESTORE", "k", 0, dump, "REPLACE"]), "OK");
    let fence = b.read().int();
    assert!(fence > first);
    let info = say(&server, "LOCK.INFO k").get("holders");
    let hold = info.array().iter().find(|hold| hold.get("owner") == "b").unwrap();
    assert_eq!((hold.get("limit"), hold.get("fence")), (Value::Int(3), Value::Int(fence)));
    assert!(hold.get("ttl").int() > 500_000, "{hold:?}");
    release(&server, "k", &["b", "c"]);
    server.assert_no_keys();
    server.assert_clean();
}

/// Trap 16: SWAPDB exchanges shared holds; readers stay where they asked and join whoever shares there now.
#[test]
fn readers_stay_in_their_database_when_databases_are_swapped() {
    let pair = Pair::start();
    let server = &pair.primary;
    let mut one = server.client();
    one.select(1);
    say(server, "LOCK.ACQUIRE k x PX 600000").int();
    for owner in ["a", "b"] {
        one.cmd(&["LOCK.ACQUIRE", "k", owner, "SHARED", "PX", "600000"]).int();
    }
    let (mut r, mut w) = (reader(server, "r"), waiter_in(server, 1, "k", "w"));
    assert_eq!(say(server, "SWAPDB 0 1"), "OK");
    r.read().int();
    assert_eq!(holders(server, "k"), ["a", "b", "r"]);
    server.assert_waiting(&mut w);
    // The leases changed databases with their lock.
    assert_eq!(say(server, "LOCK.EXTEND k a PX 100"), 1);
    assert_eq!(say(server, "SWAPDB 0 2"), "OK");
    let mut two = server.client();
    two.select(2);
    until("the swapped lease is over", || two.cmd(&["LOCK.INFO", "k"]).get("holders-count") == 2);
    // LOCK.INFO leaves it out at once; now it is acted on, too.
    assert_eq!(two.cmd(&["LOCK.EXTEND", "k", "a"]), 0);
    assert_eq!(one.cmd(&["LOCK.RELEASE", "k", "x"]), 1);
    w.read().int();
    pair.assert_same_everywhere();
    let (mut one, mut two) = (server.client(), server.client());
    one.select(1);
    two.select(2);
    assert_eq!(one.cmd(&["LOCK.RELEASE", "k", "w"]), 1);
    for owner in ["b", "r"] {
        assert_eq!(two.cmd(&["LOCK.RELEASE", "k", owner]), 1);
    }
    assert_both_clean(&pair.primary, &pair.replica);
}

/// Trap 21: DEBUG RELOAD with shared holders, readers and writers in the queue.
#[test]
fn shared_holders_and_their_queue_survive_a_reload() {
    let server = Server::start();
    let fence = share(&server, "k", "a");
    say(&server, "LOCK.ACQUIRE k b SHARED LIMIT 2 PX 600000").int();
    let (mut c, mut w, mut d) = (reader(&server, "c"), waiter_in(&server, 0, "k", "w"), reader(&server, "d"));
    for (gone, holds) in [("", vec!["a", "b"]), ("b", vec!["a", "c"])] {
        if !gone.is_empty() {
            release(&server, "k", &[gone]);
            c.read().int();
        }
        assert_eq!(say(&server, "DEBUG RELOAD"), "OK");
        assert_eq!(holders(&server, "k"), holds);
        server.assert_waiting(&mut w);
        server.assert_waiting(&mut d);
    }
    assert_eq!(say(&server, &format!("LOCK.RELEASE k a FENCE {fence}")), 1);
    // The lease that ran before ends the hold after it.
    assert_eq!(say(&server, "LOCK.EXTEND k c PX 300"), 1);
    assert_eq!(say(&server, "DEBUG RELOAD"), "OK");
    w.read().int();
    release(&server, "k", &["w"]);
    d.read().int();
    release(&server, "k", &["d"]);
    server.assert_no_keys();
    server.assert_clean();
}

/// Trap 18: an evicted shared lock has lost all its holders.
#[test]
fn evicted_shared_lock_goes_to_its_readers() {
    let server = Server::start();
    let first = share(&server, "k", "a");
    say(&server, "LOCK.ACQUIRE k b SHARED LIMIT 2 PX 600000").int();
    let mut c = reader(&server, "c");
    let limit = server.info_number("memory", "used_memory") + (1 << 20);
    assert_eq!(say(&server, "CONFIG SET maxmemory-policy allkeys-random"), "OK");
    assert_eq!(server.cmd(&args!["CONFIG", "SET", "maxmemory", limit]), "OK");
    let (noise, mut number) = ("x".repeat(10_000), 0);
    let granted = until_some("the lock is evicted and its waiter granted", || {
        number += 1;
        server.cmd(&args!["SET", format!("noise-{number}"), noise]);
        c.try_read(Duration::ZERO)
    });
    assert_eq!(say(&server, "CONFIG SET maxmemory 0"), "OK");
    assert!(granted.int() > first);
    for gone in ["a", "b"] {
        assert_eq!(say(&server, &format!("LOCK.RELEASE k {gone}")), 0);
    }
    server.assert_clean();
}

/// Trap 54: a TTL set by hand is cleared by the next grant, also of a reader beside those who hold, and by whatever confirms one of
/// the holds; it stays with a release.
#[test]
fn ttl_set_by_hand_is_cleared_by_the_next_shared_grant() {
    let pair = Pair::start();
    let server = &pair.primary;
    say(server, "LOCK.ACQUIRE k a PX 600000").int();
    assert_eq!(say(server, "LOCK.RELEASE k a DOWNGRADE"), 1);
    assert_eq!(say(server, "PEXPIRE k 3600000"), 1);
    share(server, "k", "b");
    assert_eq!(say(server, "PTTL k"), -1);
    until_synced(server, &pair.replica);
    assert_eq!(say(&pair.replica, "PTTL k"), -1);
    for confirmed in ["LOCK.EXTEND k a", "LOCK.ACQUIRE k b SHARED PX 700000"] {
        assert_eq!(say(server, "PEXPIRE k 3600000"), 1);
        say(server, confirmed).int();
        assert_eq!(say(server, "PTTL k"), -1, "after {confirmed}");
    }
    assert_eq!(say(server, "PEXPIRE k 3600000"), 1);
    assert_eq!(say(server, "LOCK.RELEASE k a"), 1);
    assert!(say(server, "PTTL k").int() > 0, "a release confirms nothing");
    pair.assert_same_everywhere();
    assert!(say(server, "PTTL k").int() > 0);
    release(server, "k", &["b"]);
    assert_both_clean(&pair.primary, &pair.replica);
}
