//! Shared holds are data: every grant, end, release, downgrade and extension is the same on the replica, in the AOF and in
//! the RDB, each at the price of one small effect however many hold the lock.

use std::time::{Duration, Instant};

use support::{
    aof_bytes, assert_both_clean, assert_same, digest, mode_and_limits, persistence_modes, release_all,
    restart_keeping, say, until, until_synced, Client, Server,
};

/// Takes `k`, shared, with these options and for longer than any test: the fence.
#[track_caller]
fn share(server: &Server, owner: &str, options: &str) -> i64 {
    say(server, &format!("LOCK.ACQUIRE k {owner} PX 600000 SHARED{options}")).int()
}

/// A new client that asks for `k` with these words (owner, options) and waits without end.
#[track_caller]
fn waiter(server: &Server, asks: &str) -> Client {
    let mut client = server.client();
    let command = format!("LOCK.ACQUIRE k {asks} PX 600000 BLOCK 0");
    server.send_to_wait(&mut client, &command.split(' ').collect::<Vec<_>>());
    client
}

/// How many ms each holder has left, in the order of their fences. (No part of the digest.)
fn leases(server: &Server) -> Vec<i64> {
    let info = say(server, "LOCK.INFO k");
    match info.is_nil() {
        true => Vec::new(),
        false => info.get("holders").array().iter().map(|hold| hold.get("ttl").int()).collect(),
    }
}

/// The same ends, but for the time between two looks.
#[track_caller]
fn assert_same_leases(here: &[i64], there: &[i64], what: &str) {
    let near = here.iter().zip(there).all(|(one, other)| (one - other).abs() < 20_000);
    assert!(near && here.len() == there.len(), "{what}: {here:?} and {there:?}");
}

#[test]
fn every_change_of_a_shared_lock_is_the_same_on_the_replica_and_in_the_aof() {
    let primary = Server::builder().aof().start();
    let replica = Server::builder().aof().replica_of(&primary).start();
    until_synced(&primary, &replica);
    let same = |what: &str, expected: &str| {
        assert_eq!(mode_and_limits(&primary), expected, "{what}");
        assert_same(&primary, &replica);
        assert_eq!(mode_and_limits(&replica), expected, "{what}, on the replica");
        let (data, ends) = (digest(&primary), leases(&primary));
        assert_same_leases(&ends, &leases(&replica), what);
        assert_eq!(say(&primary, "DEBUG LOADAOF"), "OK");
        assert_eq!((digest(&primary), mode_and_limits(&primary)), (data, expected.to_owned()), "{what}, replayed");
        assert_same_leases(&ends, &leases(&primary), what);
    };
    share(&primary, "a", "");
    let b = share(&primary, "b", " LIMIT 9");
    let c = share(&primary, "c", "");
    same("grants", "shared a:0 b:9 c:0");
    assert_eq!(say(&primary, "LOCK.EXTEND k a PX 900000"), 1);
    assert_eq!(say(&primary, &format!("LOCK.EXTEND k b RAISE {}", c + 7)), 1);
    share(&primary, "c", " LIMIT 2");
    // What was replayed is inherited, so the owner that reacquired got a new fence.
    same("extensions, a raised fence, reacquiring", "shared a:0 b:9 c:0");
    assert_eq!(say(&primary, &format!("LOCK.RELEASE k b FENCE {}", b.max(c + 7))), 1);
    same("a release", "shared a:0 c:0");
    assert_eq!(say(&primary, "LOCK.EXTEND k c PX 30"), 1);
    until("the lease is over", || mode_and_limits(&primary) == "shared a:0");
    assert_eq!(say(&primary, "LOCK.EXTEND k c"), 0);
    same("the end of a lease", "shared a:0");
    assert_eq!(say(&primary, "LOCK.RELEASE k a"), 1);
    same("the last release", "free");

    say(&primary, "LOCK.ACQUIRE k x PX 600000").int();
    let (mut d, mut e) = (waiter(&primary, "d SHARED LIMIT 3"), waiter(&primary, "e SHARED"));
    assert_eq!(say(&primary, "LOCK.RELEASE k x DOWNGRADE"), 1);
    assert!(d.read().int() < e.read().int());
    same("a downgrade with hand-offs", "shared x:0 d:3 e:0");
    let mut w = waiter(&primary, "w");
    release_all(&primary, &["d", "x", "e"]);
    w.read().int();
    same("a writer after readers", "exclusive w:0");
    let mut readers = ["r", "s", "t"].map(|owner| waiter(&primary, &format!("{owner} SHARED LIMIT 2")));
    release_all(&primary, &["w"]);
    readers[0].read().int();
    readers[1].read().int();
    same("readers after a writer", "shared r:2 s:2");
    drop(readers);
    release_all(&primary, &["r", "s"]);
    same("the end", "free");
    assert_both_clean(&primary, &replica);
}

#[test]
fn shared_locks_come_back_from_every_form_of_storage() {
    for (mode, builder) in persistence_modes() {
        for rewrites in 0..2 {
            let server = builder.clone().start();
            let fences =
                [("a", ""), ("b", " LIMIT 4"), ("c", "")].map(|(owner, options)| share(&server, owner, options));
            say(&server, "LOCK.ACQUIRE down d PX 600000").int();
            assert_eq!(say(&server, "LOCK.RELEASE down d DOWNGRADE"), 1);
            say(&server, "LOCK.ACQUIRE gone a SHARED").int();
            assert_eq!(say(&server, "LOCK.RELEASE gone a"), 1);
            for _ in 0..rewrites {
                match mode {
                    "RDB" => assert_eq!(say(&server, "DEBUG RELOAD"), "OK"),
                    _ => server.rewrite_aof(),
                }
            }
            assert_eq!(say(&server, "LOCK.EXTEND k b PX 400000"), 1);
            let (data, ends) = (digest(&server), leases(&server));
            restart_keeping(&server, mode);
            assert_eq!((digest(&server), mode_and_limits(&server)), (data, "shared a:0 b:4 c:0".to_owned()), "{mode}");
            assert_same_leases(&ends, &leases(&server), mode);
            // Limits and modes still count, and each hold is its owner's.
            share(&server, "e", "");
            assert!(say(&server, "LOCK.ACQUIRE k f SHARED").is_nil());
            assert!(say(&server, "LOCK.ACQUIRE k f").is_nil());
            for (owner, fence) in ["a", "b", "c"].iter().zip(fences) {
                assert_eq!(say(&server, &format!("LOCK.RELEASE k {owner} FENCE {fence}")), 1);
            }
            release_all(&server, &["e"]);
            say(&server, "LOCK.ACQUIRE down e SHARED").int();
            for owner in ["d", "e"] {
                assert_eq!(say(&server, &format!("LOCK.RELEASE down {owner}")), 1);
            }
            server.assert_no_keys();
            server.assert_clean();
        }
    }
}

/// Trap 34: each lease ends at its own moment, also while the server is down: some holders are gone after it, others not,
/// and a writer comes in when the last is.
#[test]
fn shared_leases_expire_while_the_server_is_down() {
    const LEASE: Duration = Duration::from_millis(1200);
    for (mode, builder) in persistence_modes() {
        let server = builder.start();
        share(&server, "stays", "");
        say(&server, "LOCK.ACQUIRE k over SHARED LIMIT 2 PX 1200").int();
        say(&server, "LOCK.ACQUIRE all a SHARED PX 1200").int();
        say(&server, "LOCK.ACQUIRE all b SHARED PX 1100").int();
        let begun = Instant::now();
        match mode {
            "RDB" => server.shutdown_saving(),
            _ => server.shutdown(),
        }
        until("the leases have run out", || begun.elapsed() > LEASE);
        server.restart();
        let restarted = Instant::now();
        assert_eq!(mode_and_limits(&server), "shared stays:0", "{mode}");
        share(&server, "new", "");
        until("the other lock is gone", || say(&server, "EXISTS all") == 0);
        assert!(restarted.elapsed() < LEASE, "{mode}: the leases started anew");
        assert_eq!(say(&server, "LOCK.EXTEND k over"), 0);
        release_all(&server, &["stays", "new"]);
        server.assert_no_keys();
        server.assert_clean();
    }
}

/// Traps 33 and 55: the fences of shared grants, too, rise over restarts and promotions. Each inherited holder gets a new
/// one when it first reacquires, and the others keep theirs.
#[test]
fn inherited_shared_holders_get_a_new_fence_each_when_they_reacquire() {
    let assert_renewed = |server: &Server, a: i64, b: i64| {
        assert_eq!(say(server, "LOCK.CHECK k a").array()[0], a);
        let renewed = share(server, "a", "");
        assert!(renewed > b, "{renewed} is not above {b}");
        assert_eq!(share(server, "a", ""), renewed);
        assert_eq!(say(server, "LOCK.CHECK k b").array()[0], b, "b did not ask");
        assert_eq!(say(server, &format!("LOCK.RELEASE k a FENCE {a}")), 0);
        let fresh = share(server, "c", "");
        assert!(fresh > renewed);
        assert!(share(server, "b", " LIMIT 2") > fresh);
        assert_eq!(mode_and_limits(server), "shared a:0 c:0 b:5");
        // Still no upgrade.
        assert!(say(server, "LOCK.ACQUIRE k b").err_text().contains("release"));
    };
    for (mode, builder) in persistence_modes() {
        let server = builder.start();
        let (a, b) = (share(&server, "a", ""), share(&server, "b", " LIMIT 5"));
        restart_keeping(&server, mode);
        assert_renewed(&server, a, b);
        let data = digest(&server);
        restart_keeping(&server, mode);
        assert_eq!(digest(&server), data, "{mode}");
        release_all(&server, &["a", "b", "c"]);
        server.assert_no_keys();
        server.assert_clean();
    }
    let primary = Server::start();
    let replica = Server::builder().replica_of(&primary).start();
    until_synced(&primary, &replica);
    let (a, b) = (share(&primary, "a", ""), share(&primary, "b", " LIMIT 5"));
    until_synced(&primary, &replica);
    assert_eq!(say(&replica, "REPLICAOF NO ONE"), "OK");
    assert_renewed(&replica, a, b);
    assert_eq!(say(&primary, &format!("REPLICAOF 127.0.0.1 {}", replica.port())), "OK");
    assert_same(&replica, &primary);
    release_all(&replica, &["a", "b", "c"]);
    assert_both_clean(&replica, &primary);
}

/// Trap 24: a replica ends no shared lease and lets nobody in, until it is promoted.
#[test]
fn promoted_replica_ends_each_shared_lease_and_serves_readers() {
    let primary = Server::start();
    let replica = Server::builder().replica_of(&primary).start();
    until_synced(&primary, &replica);
    let begun = Instant::now();
    say(&primary, "LOCK.ACQUIRE k short SHARED LIMIT 2 PX 700").int();
    let fence = share(&primary, "long", "");
    until_synced(&primary, &replica);
    primary.sigstop();
    until("the lease has long run out", || begun.elapsed() > Duration::from_millis(1200));
    let data = digest(&replica);
    assert_eq!(mode_and_limits(&replica), "shared long:0", "what has run out is left out");
    assert!(say(&replica, "LOCK.CHECK k short").is_nil());
    assert_eq!(say(&replica, "LOCK.CHECK k long").array()[0], fence);
    for refused in ["LOCK.ACQUIRE k r SHARED", "LOCK.RELEASE k long DOWNGRADE"] {
        assert!(say(&replica, refused).err_text().starts_with("READONLY "), "{refused}");
    }
    assert_eq!(digest(&replica), data, "the replica wrote");
    assert_eq!(say(&replica, "REPLICAOF NO ONE"), "OK");
    let mut w = waiter(&replica, "w");
    assert_eq!(mode_and_limits(&replica), "shared long:0");
    release_all(&replica, &["long"]);
    w.read().int();
    release_all(&replica, &["w"]);
    replica.assert_no_keys();
    replica.assert_clean();
    primary.sigcont();
}

/// How many bytes `act` adds to the AOF, and to the replication stream.
fn cost(server: &Server, act: impl FnOnce()) -> (usize, i64) {
    let before = (aof_bytes(server).len(), server.info_number("replication", "master_repl_offset"));
    act();
    let after = (aof_bytes(server).len(), server.info_number("replication", "master_repl_offset"));
    (after.0 - before.0, after.1 - before.1)
}

#[test]
fn a_change_costs_no_more_bytes_with_more_shared_holders() {
    const LITTLE: usize = 16;
    // No pings of the replication in between.
    let primary = Server::builder().aof().config("repl-ping-replica-period 3600").start();
    let replica = Server::builder().replica_of(&primary).start();
    until_synced(&primary, &replica);
    let mut costs = Vec::new();
    // Names and numbers of one length throughout.
    for holders in [1, 1000] {
        for number in 1..holders {
            share(&primary, &format!("o{number:05}"), " LIMIT 900000");
        }
        let each = [
            ("a grant", "LOCK.ACQUIRE k o99999 SHARED LIMIT 900000 PX 600000"),
            ("an extension", "LOCK.EXTEND k o99999 PX 500000"),
            ("reacquiring", "LOCK.ACQUIRE k o99999 SHARED PX 600000"),
            ("a second one", "LOCK.ACQUIRE k o88888 SHARED LIMIT 900000 PX 600000"),
            ("a release", "LOCK.RELEASE k o99999"),
        ]
        .map(|(what, command)| (what, cost(&primary, || assert!(say(&primary, command).int() > 0))));
        costs.extend(each);
        let end = cost(&primary, || {
            assert_eq!(say(&primary, "LOCK.EXTEND k o88888 PX 30"), 1);
            until("the lease is over", || say(&primary, "LOCK.CHECK k o88888").is_nil());
            assert_eq!(say(&primary, "LOCK.EXTEND k o88888"), 0);
        });
        costs.push(("the end of a lease", end));
    }
    let (alone, beside) = costs.split_at(costs.len() / 2);
    for ((what, few), (_, many)) in alone.iter().zip(beside) {
        assert!(few.0 > 0 && few.1 > 0, "{what} was not recorded");
        assert!(many.0 <= few.0 + LITTLE, "{what}: {} bytes of AOF beside 999, {} alone", many.0, few.0);
        assert!(many.1 <= few.1 + LITTLE as i64, "{what}: {} bytes replicated beside 999, {} alone", many.1, few.1);
    }
    assert_same(&primary, &replica);
    assert_eq!(say(&primary, "DEL k"), 1);
    assert_both_clean(&primary, &replica);
}
