//! Cooling: after a release with COOL, or after a hold with DELAY that was not released, nobody is granted the lock for a while.

use support::{acquire, args, assert_all_over, run, say, until, until_synced, wait, Server, Value};

/// Panics unless `k` is cooling: it is a lock, nobody holds it, and nobody is granted it.
#[track_caller]
fn assert_cooling(server: &Server) {
    assert_eq!(say(server, "TYPE k"), "redislock");
    let info = say(server, "LOCK.INFO k");
    assert_eq!((info.get("mode").text(), info.get("holders-count").int()), ("cooling".into(), 0));
    assert!(info.get("cooling").int() > 0, "{info:?}");
    for owner in ["a", "b"] {
        assert!(say(server, &format!("LOCK.CHECK k {owner}")).is_nil());
    }
}

/// The same, also for those who ask.
#[track_caller]
fn assert_refused(server: &Server) {
    assert_cooling(server);
    for command in ["LOCK.ACQUIRE k a", "LOCK.ACQUIRE k b", "LOCK.ACQUIRE k b SHARED", "LOCK.ACQUIRE k b BLOCK 1"] {
        assert!(say(server, command).is_nil(), "{command}");
    }
    for command in ["LOCK.RELEASE k a", "LOCK.EXTEND k a", "LOCK.RELEASE k a COOL 5", "LOCK.RELEASE k a DOWNGRADE"] {
        assert_eq!(say(server, command), 0, "{command}");
    }
    assert_cooling(server);
}

#[test]
fn lock_that_was_released_with_cool_is_granted_to_nobody_until_it_is_over() {
    let server = Server::start();
    let first = say(&server, "LOCK.ACQUIRE k a").int();
    assert_eq!(say(&server, "LOCK.RELEASE k a COOL 600000"), 1);
    assert_refused(&server);
    // An operator can end it.
    assert_eq!(say(&server, "DEL k"), 1);
    assert!(say(&server, "LOCK.ACQUIRE k b").int() > first);
    assert_eq!(say(&server, "LOCK.RELEASE k b"), 1);
    assert_all_over(&server);
}

/// The TTL would remove the key, and the next run of a job would come too early.
#[test]
fn ttl_set_by_hand_does_not_end_cooling() {
    let primary = Server::start();
    let replica = Server::builder().replica_of(&primary).start();
    for (acquire, end) in [
        ("LOCK.ACQUIRE k a PX 600000", "LOCK.RELEASE k a COOL 600000"),
        ("LOCK.ACQUIRE k a PX 100 DELAY 600000", "PING"),
    ] {
        say(&primary, acquire).int();
        assert_eq!(say(&primary, "PEXPIRE k 500000"), 1);
        say(&primary, end);
        until("the lock is cooling", || say(&primary, "LOCK.INFO k").get("mode") == "cooling");
        until("the TTL is cleared", || say(&primary, "PTTL k") == -1);
        until_synced(&primary, &replica);
        assert_eq!(say(&replica, "PTTL k"), -1);
        assert_cooling(&primary);
        assert_eq!(say(&primary, "DEL k"), 1);
    }
    assert_all_over(&primary);
}

/// Whoever looks just after the end of the lease, before the server has done anything about it, sees the same.
#[test]
fn lock_is_cooling_from_the_moment_at_which_the_lease_ends() {
    let server = Server::start();
    say(&server, "LOCK.ACQUIRE k a PX 300 DELAY 600000").int();
    assert_eq!(say(&server, "CLIENT PAUSE 100000 WRITE"), "OK");
    until("the lease has ended", || say(&server, "LOCK.CHECK k a").is_nil());
    assert_cooling(&server);
    let listed = say(&server, "LOCK.LIST 0");
    assert_eq!(listed.array()[1].array()[0].get("mode"), "cooling");
    assert_eq!(say(&server, "CLIENT UNPAUSE"), "OK");
    assert_refused(&server);
    assert_eq!(say(&server, "DEL k"), 1);
    assert_all_over(&server);
}

#[test]
fn waiters_wait_in_order_until_cooling_is_over() {
    let server = Server::builder().config("notify-keyspace-events KEd").start();
    let mut events = server.client();
    assert_eq!(events.cmd(&["SUBSCRIBE", "__keyspace@0__:k"]).array()[0], "subscribe");
    let first = say(&server, "LOCK.ACQUIRE k a").int();
    let mut b = wait(&server, "LOCK.ACQUIRE k b PX 600000 BLOCK 0");
    let mut c = wait(&server, "LOCK.ACQUIRE k c PX 600000 BLOCK 0");
    assert_eq!(say(&server, "LOCK.RELEASE k a COOL 200"), 1);
    let second = b.read().int();
    assert!(second > first);
    server.assert_waiting(&mut c);
    assert_eq!(say(&server, "LOCK.RELEASE k b"), 1);
    assert!(c.read().int() > second);
    assert_eq!(say(&server, "LOCK.RELEASE k c"), 1);
    for expected in ["acquire", "release", "cooled", "acquire", "release", "acquire", "release"] {
        let event = loop {
            let event = events.read().array()[2].text();
            if event != "lock.contended" {
                break event;
            }
        };
        assert_eq!(event, format!("lock.{expected}"));
    }
    assert_eq!(server.info_field("redislock", "redislock_coolings"), "1");
    assert_all_over(&server);
}

#[test]
fn wait_that_times_out_during_cooling_is_null() {
    let server = Server::start();
    acquire(&mut server.client(), "k", "a");
    assert_eq!(say(&server, "LOCK.RELEASE k a COOL 600000"), 1);
    assert_eq!(say(&server, "LOCK.ACQUIRE k b BLOCK 30"), Value::NullBulk);
    let mut waiter = wait(&server, "LOCK.ACQUIRE k b BLOCK 0");
    assert_eq!(say(&server, "LOCK.RELEASE k b"), 0);
    assert!(waiter.read().is_nil(), "a release withdraws the wait");
    assert_eq!(say(&server, "FLUSHALL"), "OK");
    assert_all_over(&server);
}

#[test]
fn cool_cools_only_what_was_held() {
    let server = Server::start();
    assert_eq!(say(&server, "LOCK.RELEASE k a COOL 600000"), 0);
    server.assert_no_keys();
    let fence = say(&server, "LOCK.ACQUIRE k a").int();
    assert_eq!(say(&server, "LOCK.RELEASE k b COOL 600000"), 0);
    assert_eq!(say(&server, &format!("LOCK.RELEASE k a FENCE {} COOL 600000", fence - 1)), 0);
    assert_eq!(say(&server, "LOCK.CHECK k a").array()[0], fence);
    assert_eq!(say(&server, &format!("LOCK.RELEASE k a FENCE {fence} COOL 600000")), 1);
    assert_refused(&server);
    assert_eq!(say(&server, "FLUSHDB"), "OK");
    // A shared hold stays as it is.
    let fence = say(&server, "LOCK.ACQUIRE k a SHARED").int();
    let refused = "ERR COOL needs an exclusive hold, and this owner holds the lock shared";
    assert_eq!(say(&server, "LOCK.RELEASE k a COOL 600000"), Value::Error(refused.into()));
    assert_eq!(say(&server, "LOCK.CHECK k a").array()[0], fence);
    assert_eq!(say(&server, "LOCK.RELEASE k a"), 1);
    assert_all_over(&server);
}

#[test]
fn hold_with_delay_cools_if_it_ends_otherwise_than_by_a_release() {
    let server = Server::start();
    // By its lease.
    say(&server, "LOCK.ACQUIRE k a PX 30 DELAY 600000").int();
    until("the lease has expired", || say(&server, "LOCK.CHECK k a").is_nil());
    assert_refused(&server);
    assert_eq!(say(&server, "DEL k"), 1);
    // By its MAX.
    say(&server, "LOCK.ACQUIRE k a PX 600000 MAX 30 DELAY 600000").int();
    until("the hold has ended", || say(&server, "LOCK.EXTEND k a PX 600000") == 0);
    assert_refused(&server);
    assert_eq!(say(&server, "DEL k"), 1);
    // By its session.
    let mut session = server.client();
    run(&mut session, "LOCK.ACQUIRE k a SESSION DELAY 600000").int();
    session.close();
    until("the session has closed", || say(&server, "LOCK.CHECK k a").is_nil());
    assert_refused(&server);
    assert_eq!(say(&server, "DEL k"), 1);
    // Not by a release, and not by an operator.
    for end in ["LOCK.RELEASE k a", "DEL k"] {
        say(&server, "LOCK.ACQUIRE k a DELAY 600000").int();
        assert_eq!(say(&server, end), 1);
        server.assert_no_keys();
    }
    // A hold that has become shared has no DELAY any more.
    say(&server, "LOCK.ACQUIRE k a PX 60 DELAY 600000").int();
    assert_eq!(say(&server, "LOCK.RELEASE k a DOWNGRADE"), 1);
    until("the lease has expired", || say(&server, "EXISTS k") == 0);
    assert_eq!(server.info_field("redislock", "redislock_coolings"), "3");
    assert_all_over(&server);
}

#[test]
fn delay_lasts_as_long_as_was_asked_for_and_no_longer() {
    let server = Server::start();
    let first = say(&server, "LOCK.ACQUIRE k a PX 50 DELAY 200").int();
    let begun = std::time::Instant::now();
    let mut b = wait(&server, "LOCK.ACQUIRE k b PX 600000 BLOCK 0");
    assert!(b.read().int() > first);
    // Both clients measure with the clock of this machine, and the wait began after the grant.
    assert!(begun.elapsed().as_millis() >= 200, "{:?}", begun.elapsed());
    assert_eq!(say(&server, "LOCK.RELEASE k b"), 1);
    assert_all_over(&server);
}

#[test]
fn cooling_is_saved_and_replicated_and_ends_where_it_is_then() {
    let primary = Server::builder().aof().start();
    let replica = Server::builder().replica_of(&primary).start();
    let mut client = primary.client();
    for key in ["k", "short"] {
        acquire(&mut client, key, "a");
    }
    acquire(&mut client, "k2", "a");
    assert_eq!(run(&mut client, "LOCK.RELEASE k a COOL 600000"), 1);
    assert_eq!(run(&mut client, "LOCK.RELEASE k2 a COOL 600000"), 1);
    assert_eq!(run(&mut client, "RENAME k2 renamed"), "OK");
    until_synced(&primary, &replica);
    assert_cooling(&replica);
    for _ in 0..2 {
        primary.restart();
        assert_refused(&primary);
        assert!(say(&primary, "LOCK.ACQUIRE renamed b").is_nil());
        primary.rewrite_aof();
    }
    assert_eq!(say(&primary, "DEBUG RELOAD"), "OK");
    assert_refused(&primary);
    let dump = say(&primary, "DUMP k").bytes().to_vec();
    assert_eq!(say(&primary, "DEL k"), 1);
    assert_eq!(primary.cmd(&args!["RESTORE", "k", 0, dump]), "OK");
    assert_refused(&primary);
    let left = say(&primary, "LOCK.INFO k").get("cooling").int();
    assert!((1..=600_000).contains(&left), "{left}");
    until_synced(&primary, &replica);
    // The end of cooling reaches the replica as well, and a promoted one ends it by itself.
    assert_eq!(say(&primary, "LOCK.RELEASE short a COOL 100"), 1);
    until("it is over", || say(&primary, "EXISTS short") == 0);
    until("the replica knows", || say(&replica, "EXISTS short") == 0);
    say(&primary, "LOCK.ACQUIRE late a PX 600000").int();
    assert_eq!(say(&primary, "LOCK.RELEASE late a COOL 1500"), 1);
    until_synced(&primary, &replica);
    assert_eq!(say(&replica, "REPLICAOF NO ONE"), "OK");
    assert_refused(&replica);
    assert!(wait(&replica, "LOCK.ACQUIRE late b BLOCK 0").read().int() > 0);
}

#[test]
fn cool_and_delay_out_of_their_range_or_place_are_refused_before_anything_happens() {
    let server = Server::start();
    for (command, expected) in [
        ("LOCK.RELEASE k a COOL 0", "ERR COOL must be a number of milliseconds from 1 to 31536000000"),
        ("LOCK.RELEASE k a COOL 31536000001", "ERR COOL must be a number of milliseconds from 1 to 31536000000"),
        ("LOCK.RELEASE k a COOL", "ERR COOL needs a value"),
        ("LOCK.RELEASE k a COOL 1 COOL 1", "ERR COOL is given twice"),
        ("LOCK.RELEASE k a COOL 1 DOWNGRADE", "ERR DOWNGRADE and COOL exclude each other"),
        ("LOCK.ACQUIRE k a DELAY 0", "ERR DELAY must be a number of milliseconds from 1 to 3600000"),
        ("LOCK.ACQUIRE k a DELAY 3600001", "ERR DELAY must be a number of milliseconds from 1 to 3600000"),
        ("LOCK.ACQUIRE k a DELAY 5 SHARED", "ERR DELAY and SHARED exclude each other"),
    ] {
        assert_eq!(say(&server, command), Value::Error(expected.into()), "{command}");
    }
    assert_all_over(&server);
}
