//! An owner that holds a lock reacquires it: exclusive and shared, alone and with other holders and waiters; and an owner
//! that is granted while it has other requests. `commands.rs` tests the plain exclusive case, `replication/shared.rs`
//! restarts.

use support::{
    aof_commands, assert_all_over, assert_both_clean, assert_nothing_unread, assert_same, digest, exec,
    mode_and_limits, release_all, say, until, until_synced, wait, Server, Value,
};

/// How many ms of its lease this owner has left.
#[track_caller]
fn left(server: &Server, owner: &str) -> i64 {
    say(server, &format!("LOCK.CHECK k {owner}")).array()[1].int()
}

/// Asking for the exclusive hold is refused because the asker shares the lock.
#[track_caller]
fn assert_told_to_release(answer: &Value) {
    let text = answer.err_text();
    assert!(text.starts_with("ERR ") && text.contains("release"), "{text}");
}

#[test]
fn exclusive_hold_satisfies_every_request_of_its_owner() {
    let server = Server::start();
    let fence = say(&server, "LOCK.ACQUIRE k a").int();
    for options in ["", " SHARED", " SHARED LIMIT 1", " SHARED LIMIT 1000000", " SHARED BLOCK 0", " BLOCK 0 PX 1"] {
        assert_eq!(say(&server, &format!("LOCK.ACQUIRE k a{options}")), fence, "{options}");
    }
    // It stays what it was: exclusive and without a limit.
    assert_eq!(mode_and_limits(&server), "exclusive a:0");
    assert_eq!(say(&server, "LOCK.ACQUIRE k b SHARED"), Value::NullBulk);
    release_all(&server, &["a"]);
    assert_eq!(say(&server, "LOCK.RELEASE k a"), 0, "one hold, however often it was asked for");
    assert_all_over(&server);
}

#[test]
fn shared_holder_that_reacquires_keeps_its_fence_and_its_limit() {
    let server = Server::start();
    let owners = [("plain", ""), ("three", " LIMIT 3"), ("ten", " LIMIT 10")];
    let fences = owners.map(|(owner, limit)| say(&server, &format!("LOCK.ACQUIRE k {owner} SHARED{limit}")).int());
    let before = mode_and_limits(&server);
    assert_eq!(before, "shared plain:0 three:3 ten:10");
    for ((owner, _), fence) in owners.iter().zip(fences) {
        for again in ["SHARED", "SHARED LIMIT 1", "SHARED LIMIT 7", "SHARED LIMIT 999999 BLOCK 0", "SHARED PX 90000"] {
            assert_eq!(say(&server, &format!("LOCK.ACQUIRE k {owner} {again}")), fence, "{owner} {again}");
        }
    }
    assert_eq!(mode_and_limits(&server), before);
    // Nobody took a second permit by it.
    assert_eq!(say(&server, "LOCK.ACQUIRE k d SHARED"), Value::NullBulk);
    for (owner, _) in owners {
        release_all(&server, &[owner]);
        assert_eq!(say(&server, &format!("LOCK.RELEASE k {owner}")), 0);
    }
    assert_all_over(&server);
}

#[test]
fn holder_is_answered_at_once_whoever_waits() {
    let server = Server::start();
    let (a, b) = (say(&server, "LOCK.ACQUIRE k a SHARED LIMIT 2").int(), say(&server, "LOCK.ACQUIRE k b SHARED").int());
    let mut strict = wait(&server, "LOCK.ACQUIRE k strict SHARED LIMIT 1 BLOCK 0");
    let mut w = wait(&server, "LOCK.ACQUIRE k w BLOCK 0");
    // Through another connection, as after a lost reply.
    let mut elsewhere = server.client();
    assert_eq!(elsewhere.cmd(&["LOCK.ACQUIRE", "k", "a", "SHARED", "BLOCK", "0"]), a);
    assert_eq!(elsewhere.cmd(&["LOCK.ACQUIRE", "k", "b", "SHARED", "LIMIT", "1"]), b);
    assert_eq!(exec(&mut elsewhere, &["LOCK.ACQUIRE k b SHARED BLOCK 0"]), [Value::Int(b)]);
    server.assert_waiting(&mut strict);
    server.assert_waiting(&mut w);
    release_all(&server, &["a"]);
    release_all(&server, &["b"]);
    strict.read().int();
    release_all(&server, &["strict"]);
    let fence = w.read().int();
    let mut r = wait(&server, "LOCK.ACQUIRE k r SHARED BLOCK 0");
    assert_eq!(say(&server, "LOCK.ACQUIRE k w SHARED"), fence);
    server.assert_waiting(&mut r);
    release_all(&server, &["w"]);
    r.read().int();
    release_all(&server, &["r"]);
    assert_all_over(&server);
}

#[test]
fn shared_holder_that_asks_for_the_exclusive_hold_is_told_to_release_first() {
    let server = Server::builder().aof().start();
    let fence = say(&server, "LOCK.ACQUIRE k a SHARED LIMIT 4 PX 60000").int();
    // Alone, beside another holder, and before a waiter.
    let mut w = None;
    for _ in 0..3 {
        let (data, length) = (digest(&server), aof_commands(&server).len());
        for options in ["", " PX 600000", " BLOCK 0", " BLOCK 5 PX 600000"] {
            assert_told_to_release(&say(&server, &format!("LOCK.ACQUIRE k a{options}")));
        }
        // Nothing came of it, not even a longer lease.
        assert!(left(&server, "a") <= 60_000);
        assert_eq!((digest(&server), aof_commands(&server).len()), (data, length));
        assert_eq!(server.blocked(), i64::from(w.is_some()));
        if mode_and_limits(&server) == "shared a:4" {
            say(&server, "LOCK.ACQUIRE k b SHARED").int();
        } else {
            w.get_or_insert_with(|| wait(&server, "LOCK.ACQUIRE k w BLOCK 0"));
        }
    }
    assert_eq!(say(&server, "LOCK.CHECK k a").array()[0], fence);
    release_all(&server, &["a"]);
    release_all(&server, &["b"]);
    w.unwrap().read().int();
    release_all(&server, &["w"]);
    say(&server, "LOCK.ACQUIRE k a").int();
    release_all(&server, &["a"]);
    assert_all_over(&server);
}

#[test]
fn later_of_the_two_ends_counts_for_the_asker_alone() {
    let server = Server::start();
    say(&server, "LOCK.ACQUIRE k a SHARED PX 60000").int();
    say(&server, "LOCK.ACQUIRE k b SHARED PX 50000").int();
    say(&server, "LOCK.ACQUIRE k a SHARED PX 1").int();
    assert!((50_001..=60_000).contains(&left(&server, "a")), "the end came nearer");
    say(&server, "LOCK.ACQUIRE k a SHARED LIMIT 2 PX 500000").int();
    assert!((400_001..=500_000).contains(&left(&server, "a")), "the end did not move");
    assert!(left(&server, "b") <= 50_000, "another holder's lease changed");
    // Without a length EXTEND takes the one last given: the longer one.
    assert_eq!(say(&server, "LOCK.EXTEND k b"), 1);
    assert!(left(&server, "b") <= 50_000);
    assert_eq!(say(&server, "LOCK.EXTEND k a PX 1000"), 1);
    say(&server, "LOCK.ACQUIRE k a SHARED PX 300000").int();
    assert_eq!(say(&server, "LOCK.EXTEND k a"), 1);
    assert!((200_001..=300_000).contains(&left(&server, "a")));

    // The same when the exclusive holder asks for a shared hold.
    release_all(&server, &["a"]);
    release_all(&server, &["b"]);
    say(&server, "LOCK.ACQUIRE k a PX 60000").int();
    say(&server, "LOCK.ACQUIRE k a SHARED PX 1").int();
    assert!((50_001..=60_000).contains(&left(&server, "a")));
    say(&server, "LOCK.ACQUIRE k a SHARED PX 500000").int();
    assert!((400_001..=500_000).contains(&left(&server, "a")));
    release_all(&server, &["a"]);
    assert_all_over(&server);
}

#[test]
fn ended_hold_is_not_reacquired_but_acquired_anew() {
    let server = Server::start();
    let mut client = server.client();
    say(&server, "LOCK.ACQUIRE k b SHARED PX 600000").int();
    let ask: &[&str] = &["LOCK.ACQUIRE", "k", "a", "SHARED", "LIMIT", "5", "PX", "30"];
    let answers = client.pipeline(&[ask, &["DEBUG", "SLEEP", "0.06"], &["LOCK.ACQUIRE", "k", "a", "SHARED"]]);
    assert!(answers[2].int() > answers[0].int());
    assert_eq!(mode_and_limits(&server), "shared b:0 a:0", "the new hold has its own limit");
    // And after it ended, a writer in the queue comes first.
    let mut w = wait(&server, "LOCK.ACQUIRE k w BLOCK 0");
    let extend: &[&str] = &["LOCK.EXTEND", "k", "a", "PX", "20"];
    let answers = client.pipeline(&[extend, &["DEBUG", "SLEEP", "0.05"], &["LOCK.ACQUIRE", "k", "a", "SHARED"]]);
    assert_eq!(answers[2], Value::NullBulk);
    release_all(&server, &["b"]);
    w.read().int();
    release_all(&server, &["w"]);
    assert_all_over(&server);
}

#[test]
fn owner_that_is_granted_is_answered_to_all_that_the_hold_satisfies() {
    let server = Server::start();
    // What is granted first, what else waits, the lease that counts, how it is held then.
    let cases = [
        ("SHARED PX 60000", "SHARED PX 500000", "shared b:0"),
        ("SHARED PX 500000", "SHARED LIMIT 1 PX 60000", "shared b:0"),
        ("SHARED LIMIT 3 PX 60000", "SHARED PX 500000", "shared b:3"),
        ("PX 60000", "SHARED LIMIT 3 PX 500000", "exclusive b:0"),
        ("PX 500000", "SHARED", "exclusive b:0"),
    ];
    for (first, second, held) in cases {
        let fence = say(&server, "LOCK.ACQUIRE k x").int();
        let mut one = wait(&server, &format!("LOCK.ACQUIRE k b {first} BLOCK 0"));
        let mut w = wait(&server, "LOCK.ACQUIRE k w BLOCK 0");
        // Behind a writer, and yet answered with the first: the owner holds.
        let mut two = wait(&server, &format!("LOCK.ACQUIRE k b {second} BLOCK 0"));
        release_all(&server, &["x"]);
        let granted = one.read().int();
        assert!(granted > fence);
        assert_eq!(two.read(), granted, "{first}, {second}");
        server.assert_waiting(&mut w);
        assert_eq!(mode_and_limits(&server), held, "{first}, {second}");
        assert!((400_001..=500_000).contains(&left(&server, "b")), "{first}, {second}");
        release_all(&server, &["b"]);
        w.read().int();
        release_all(&server, &["w"]);
        for client in [&mut one, &mut two] {
            assert_nothing_unread(client);
        }
    }
    assert_all_over(&server);
}

#[test]
fn exclusive_request_of_an_owner_that_is_granted_a_shared_hold_is_told_to_release_first() {
    let server = Server::start();
    say(&server, "LOCK.ACQUIRE k x").int();
    let mut shared = wait(&server, "LOCK.ACQUIRE k b SHARED BLOCK 0");
    let mut exclusive = wait(&server, "LOCK.ACQUIRE k b BLOCK 0");
    let mut again = wait(&server, "LOCK.ACQUIRE k b SHARED BLOCK 0");
    let mut c = wait(&server, "LOCK.ACQUIRE k c SHARED BLOCK 0");
    release_all(&server, &["x"]);
    let fence = shared.read().int();
    assert_told_to_release(&exclusive.read());
    assert_eq!(again.read(), fence);
    // Nothing of it is left in the line, so those behind it come in.
    assert!(c.read().int() > fence);
    assert_eq!(mode_and_limits(&server), "shared b:0 c:0");
    release_all(&server, &["b"]);
    release_all(&server, &["c"]);
    for client in [&mut shared, &mut exclusive, &mut again, &mut c] {
        assert_nothing_unread(client);
    }
    assert_all_over(&server);
}

#[test]
fn readers_let_in_together_are_each_answered_to_all_they_asked() {
    let server = Server::start();
    say(&server, "LOCK.ACQUIRE k x").int();
    let asks = ["a SHARED PX 60000", "b SHARED", "a SHARED PX 500000", "b SHARED LIMIT 2", "c SHARED"];
    let mut waiting = asks.map(|ask| wait(&server, &format!("LOCK.ACQUIRE k {ask} BLOCK 0")));
    release_all(&server, &["x"]);
    let answers: Vec<i64> = waiting.iter_mut().map(|client| client.read().int()).collect();
    assert_eq!((answers[0], answers[1]), (answers[2], answers[3]));
    assert_eq!(mode_and_limits(&server), "shared a:0 b:0 c:0");
    assert!(left(&server, "a") > 400_000);
    for owner in ["a", "b", "c"] {
        release_all(&server, &[owner]);
    }
    assert_all_over(&server);
}

#[test]
fn release_withdraws_all_waits_of_its_owner_in_every_mode() {
    let server = Server::start();
    say(&server, "LOCK.ACQUIRE k x").int();
    let mut gone =
        ["", " SHARED", " SHARED LIMIT 2"].map(|mode| wait(&server, &format!("LOCK.ACQUIRE k b{mode} BLOCK 0")));
    let mut c = wait(&server, "LOCK.ACQUIRE k c SHARED BLOCK 0");
    assert_eq!(say(&server, "LOCK.RELEASE k b FENCE 7"), 0);
    for client in &mut gone {
        server.assert_waiting(client);
    }
    assert_eq!(say(&server, "LOCK.RELEASE k b"), 0);
    for client in &mut gone {
        assert_eq!(client.read(), Value::NullBulk);
        assert_nothing_unread(client);
    }
    server.assert_waiting(&mut c);
    release_all(&server, &["x"]);
    c.read().int();
    assert_eq!(mode_and_limits(&server), "shared c:0");
    release_all(&server, &["c"]);
    assert_all_over(&server);
}

#[test]
fn owner_in_the_queue_for_the_exclusive_hold_does_not_pass_itself() {
    let server = Server::start();
    say(&server, "LOCK.ACQUIRE k a SHARED").int();
    let mut b = wait(&server, "LOCK.ACQUIRE k b BLOCK 0");
    assert_eq!(say(&server, "LOCK.ACQUIRE k b SHARED"), Value::NullBulk);
    let mut also = wait(&server, "LOCK.ACQUIRE k b SHARED BLOCK 0");
    release_all(&server, &["a"]);
    let fence = b.read().int();
    assert_eq!(also.read(), fence);
    assert_eq!(mode_and_limits(&server), "exclusive b:0");
    release_all(&server, &["b"]);
    assert_all_over(&server);
}

/// The soak found it (seed 9002): a primary that is demoted and promoted again need not load anything, so it knew the holds it
/// had granted in its earlier term as its own, and gave their old fences again. Meanwhile another primary may have given
/// larger ones for the same lock that are lost now, and the resource rejects the old one.
#[test]
fn hold_from_an_earlier_term_of_this_very_server_gets_a_new_fence() {
    let one = Server::start();
    let other = Server::builder().replica_of(&one).start();
    let promote = |from: &Server, to: &Server| {
        until_synced(from, to);
        assert_eq!(say(to, "REPLICAOF NO ONE"), "OK");
        assert_eq!(say(from, &format!("REPLICAOF 127.0.0.1 {}", to.port())), "OK");
        until_synced(to, from);
    };
    until("the replica is in step", || other.info_field("replication", "master_link_status") == "up");
    let first = say(&one, "LOCK.ACQUIRE k a PX 600000 SHARED").int();
    let loads = || one.log().matches("Finished with success").count();
    let before = loads();
    promote(&one, &other);
    assert_eq!(loads(), before, "a partial resync: nothing is loaded");
    let meanwhile = say(&other, "LOCK.ACQUIRE k b PX 600000 SHARED").int();
    assert!(meanwhile > first);
    promote(&other, &one);
    let again = say(&one, "LOCK.ACQUIRE k a PX 600000 SHARED").int();
    assert!(again > meanwhile, "{again} after {meanwhile}");
    assert_eq!(say(&one, "LOCK.ACQUIRE k a PX 600000 SHARED"), again, "once");
    release_all(&one, &["a"]);
    release_all(&one, &["b"]);
    assert_both_clean(&one, &other);
}

/// On servers newer than Redis 7.0, WAIT counts from what the client's last command wrote. A client that reacquired on a new
/// connection wrote nothing, and WAIT said at once that replicas had a hold which none of them had heard of.
#[test]
fn wait_after_reacquiring_counts_only_replicas_that_have_the_hold() {
    for mode in ["", " SHARED"] {
        let primary = Server::start();
        let replica = Server::builder().replica_of(&primary).start();
        until_synced(&primary, &replica);
        let ask = format!("LOCK.ACQUIRE k a PX 60000{mode}");
        let fence = say(&primary, &ask).int();
        until_synced(&primary, &replica);
        replica.sigstop();
        assert_eq!(say(&primary, "LOCK.EXTEND k a PX 600000"), 1);
        let mut again = primary.client();
        assert_eq!(again.cmd(&ask.split(' ').collect::<Vec<_>>()), fence);
        assert_eq!(again.cmd(&["WAIT", "1", "100"]), 0, "the replica is stopped");
        replica.sigcont();
        assert_eq!(again.cmd(&["WAIT", "1", "0"]), 1);
        // In a transaction as well.
        replica.sigstop();
        let mut other = primary.client();
        assert_eq!(exec(&mut other, &[&ask])[0], fence);
        assert_eq!(other.cmd(&["WAIT", "1", "100"]), 0);
        replica.sigcont();
        assert_eq!(other.cmd(&["WAIT", "1", "0"]), 1);
        assert_same(&primary, &replica);
    }
}
