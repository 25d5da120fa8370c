//! LOCK.RELEASE ... DOWNGRADE: an exclusive hold becomes a shared one, same fence and lease, and is never free in between.

use support::{
    aof_commands, assert_all_over, digest, exec, mode_and_holders, release_all, say, until, wait, Server, Value,
};

/// A server whose lock `k` is held exclusively by `a`, and the fence.
#[track_caller]
fn held() -> (Server, i64) {
    let server = Server::start();
    let fence = say(&server, "LOCK.ACQUIRE k a PX 600000").int();
    (server, fence)
}

#[track_caller]
fn downgrade(server: &Server) {
    assert_eq!(say(server, "LOCK.RELEASE k a DOWNGRADE"), 1);
}

#[test]
fn downgraded_hold_keeps_its_fence_and_is_shared_without_a_limit() {
    let (server, fence) = held();
    downgrade(&server);
    assert_eq!(mode_and_holders(&server), "shared a");
    let hold = &say(&server, "LOCK.INFO k").get("holders").array()[0].clone();
    assert_eq!((hold.get("fence"), hold.get("limit")), (Value::Int(fence), Value::Int(0)));
    assert_eq!(say(&server, "LOCK.CHECK k a").array()[0], fence);
    // It is a shared hold like any other: more come in, a writer waits for all of them.
    let b = say(&server, "LOCK.ACQUIRE k b SHARED").int();
    assert!(b > fence);
    assert_eq!(say(&server, "LOCK.ACQUIRE k c SHARED LIMIT 2"), Value::NullBulk);
    say(&server, "LOCK.ACQUIRE k c SHARED LIMIT 3").int();
    let mut w = wait(&server, "LOCK.ACQUIRE k w BLOCK 0");
    assert_eq!(say(&server, &format!("LOCK.RELEASE k a FENCE {fence}")), 1);
    assert_eq!(mode_and_holders(&server), "shared b c");
    release_all(&server, &["b"]);
    server.assert_waiting(&mut w);
    release_all(&server, &["c"]);
    w.read().int();
    release_all(&server, &["w"]);
    assert_all_over(&server);
}

#[test]
fn downgraded_hold_keeps_its_lease() {
    let (server, _) = held();
    let left = || say(&server, "LOCK.CHECK k a").array()[1].int();
    assert_eq!(say(&server, "LOCK.EXTEND k a PX 300000"), 1);
    until("some of the lease is over", || left() < 299_990);
    let before = left();
    downgrade(&server);
    assert!(left() <= before, "the lease was started anew");
    assert!(left() > 200_000, "the lease was cut");
    // The length it was last given went along, too.
    assert_eq!(say(&server, "LOCK.EXTEND k a"), 1);
    assert!(left() > before);

    // And the end comes when it would have come without.
    say(&server, "LOCK.ACQUIRE k b SHARED PX 600000").int();
    let mut w = wait(&server, "LOCK.ACQUIRE k w BLOCK 0");
    release_all(&server, &["b"]);
    server.assert_waiting(&mut w);
    assert_eq!(say(&server, "LOCK.EXTEND k a PX 50"), 1);
    w.read().int();
    release_all(&server, &["w"]);
    assert_eq!(say(&server, "LOCK.RELEASE k a DOWNGRADE"), 0);
    let mut client = server.client();
    let short: &[&[&str]] = &[&["LOCK.ACQUIRE", "k", "a", "PX", "200"], &["LOCK.RELEASE", "k", "a", "DOWNGRADE"]];
    assert_eq!(client.pipeline(short)[1], 1);
    until("the downgraded hold's lease is over", || say(&server, "EXISTS k") == 0);
    assert_all_over(&server);
}

#[test]
fn downgrade_lets_the_readers_at_the_head_in_together_and_at_once() {
    let (server, mut fence) = held();
    let mut readers = ["b", "c"].map(|owner| wait(&server, &format!("LOCK.ACQUIRE k {owner} SHARED BLOCK 0")));
    let mut w = wait(&server, "LOCK.ACQUIRE k w BLOCK 0");
    let mut d = wait(&server, "LOCK.ACQUIRE k d SHARED BLOCK 0");
    let mut client = server.client();
    let turn = exec(&mut client, &["LOCK.RELEASE k a DOWNGRADE", "LOCK.INFO k"]);
    assert_eq!((&turn[0], turn[1].get("holders-count")), (&Value::Int(1), Value::Int(3)));
    for reader in &mut readers {
        let granted = reader.read().int();
        assert!(granted > fence);
        fence = granted;
    }
    assert_eq!(mode_and_holders(&server), "shared a b c");
    server.assert_waiting(&mut w);
    server.assert_waiting(&mut d);
    for owner in ["a", "b", "c"] {
        release_all(&server, &[owner]);
    }
    w.read().int();
    release_all(&server, &["w"]);
    d.read().int();
    release_all(&server, &["d"]);
    assert_all_over(&server);
}

#[test]
fn downgraded_hold_counts_as_one_for_the_limits_of_those_who_wait() {
    let (server, _) = held();
    let mut waiting = [("b", 3), ("c", 9), ("d", 9)]
        .map(|(owner, n)| wait(&server, &format!("LOCK.ACQUIRE k {owner} SHARED LIMIT {n} BLOCK 0")));
    downgrade(&server);
    waiting[0].read().int();
    waiting[1].read().int();
    server.assert_waiting(&mut waiting[2]);
    assert_eq!(mode_and_holders(&server), "shared a b c");
    release_all(&server, &["a"]);
    waiting[2].read().int();
    for owner in ["b", "c", "d"] {
        release_all(&server, &[owner]);
    }

    say(&server, "LOCK.ACQUIRE k a").int();
    let mut alone = wait(&server, "LOCK.ACQUIRE k alone SHARED LIMIT 1 BLOCK 0");
    downgrade(&server);
    server.assert_waiting(&mut alone);
    assert_eq!(mode_and_holders(&server), "shared a");
    release_all(&server, &["a"]);
    alone.read().int();
    release_all(&server, &["alone"]);
    assert_all_over(&server);
}

#[test]
fn downgraded_lock_is_not_free_in_between() {
    let (server, fence) = held();
    let mut w = wait(&server, "LOCK.ACQUIRE k w BLOCK 0");
    let mut client = server.client();
    let turn = exec(
        &mut client,
        &["LOCK.RELEASE k a DOWNGRADE", "LOCK.ACQUIRE k new", "LOCK.ACQUIRE k new SHARED", "LOCK.CHECK k a"],
    );
    assert_eq!(turn[..3], [Value::Int(1), Value::NullBulk, Value::NullBulk]);
    assert_eq!(turn[3].array()[0], fence);
    server.assert_waiting(&mut w);
    assert_eq!(mode_and_holders(&server), "shared a");
    release_all(&server, &["a"]);
    w.read().int();
    release_all(&server, &["w"]);

    // Nobody waits: a reader comes in, and a writer does not.
    say(&server, "LOCK.ACQUIRE k a").int();
    let turn = exec(&mut client, &["LOCK.RELEASE k a DOWNGRADE", "LOCK.ACQUIRE k w", "LOCK.ACQUIRE k r SHARED"]);
    assert_eq!(turn[1], Value::NullBulk);
    turn[2].int();
    release_all(&server, &["a"]);
    release_all(&server, &["r"]);
    assert_all_over(&server);
}

#[test]
fn downgrade_with_a_fence_touches_only_the_hold_with_that_fence() {
    let (server, fence) = held();
    for wrong in [1, fence - 1, fence + 1] {
        assert_eq!(say(&server, &format!("LOCK.RELEASE k a FENCE {wrong} DOWNGRADE")), 0);
        assert_eq!(mode_and_holders(&server), "exclusive a");
    }
    assert_eq!(say(&server, &format!("lock.release k a Downgrade fence {fence}")), 1);
    assert_eq!(mode_and_holders(&server), "shared a");
    assert!(say(&server, "LOCK.RELEASE k a DOWNGRADE DOWNGRADE").is_err());
    release_all(&server, &["a"]);
    assert_all_over(&server);
}

#[test]
fn downgrade_by_an_owner_that_does_not_hold_answers_0_and_withdraws_nothing() {
    let (server, _) = held();
    let mut b = wait(&server, "LOCK.ACQUIRE k b BLOCK 0");
    let mut c = wait(&server, "LOCK.ACQUIRE k c SHARED BLOCK 0");
    for command in ["LOCK.RELEASE k b DOWNGRADE", "LOCK.RELEASE k c DOWNGRADE", "LOCK.RELEASE free a DOWNGRADE"] {
        assert_eq!(say(&server, command), 0, "{command}");
    }
    assert_eq!(say(&server, "EXISTS free"), 0);
    server.assert_waiting(&mut b);
    server.assert_waiting(&mut c);
    assert_eq!(mode_and_holders(&server), "exclusive a");
    release_all(&server, &["a"]);
    b.read().int();
    release_all(&server, &["b"]);
    c.read().int();
    release_all(&server, &["c"]);
    assert_all_over(&server);
}

#[test]
fn downgrade_of_a_shared_hold_answers_1_and_changes_nothing() {
    let server = Server::builder().aof().config("notify-keyspace-events Kd").start();
    say(&server, "LOCK.ACQUIRE k a PX 600000").int();
    downgrade(&server);
    say(&server, "LOCK.ACQUIRE k b SHARED LIMIT 5 PX 600000").int();
    let (data, length) = (digest(&server), aof_commands(&server).len());
    let (mut watcher, mut events) = (server.client(), server.client());
    assert_eq!(watcher.cmd(&["WATCH", "k"]), "OK");
    events.cmd(&["SUBSCRIBE", "__keyspace@0__:k"]);
    for command in ["LOCK.RELEASE k a DOWNGRADE", "LOCK.RELEASE k b DOWNGRADE", "LOCK.RELEASE k a DOWNGRADE"] {
        assert_eq!(say(&server, command), 1, "{command}");
    }
    assert_eq!(exec(&mut watcher, &["PING"]).len(), 1);
    assert_eq!((digest(&server), aof_commands(&server).len()), (data, length));
    assert_eq!(say(&server, "LOCK.INFO k").get("holders").array()[1].get("limit"), 5);
    assert_eq!(mode_and_holders(&server), "shared a b");
    release_all(&server, &["a"]);
    assert_eq!(events.read().array()[2], "lock.release");
    release_all(&server, &["b"]);
    assert_all_over(&server);
}

#[test]
fn downgraded_holder_may_reacquire_a_shared_hold_only() {
    let (server, fence) = held();
    downgrade(&server);
    for options in ["SHARED", "SHARED LIMIT 1", "SHARED BLOCK 0"] {
        assert_eq!(say(&server, &format!("LOCK.ACQUIRE k a {options}")), fence, "{options}");
    }
    for options in ["", " BLOCK 0", " PX 5"] {
        let refused = say(&server, &format!("LOCK.ACQUIRE k a{options}"));
        assert!(refused.err_text().starts_with("ERR ") && refused.err_text().contains("release"), "{refused:?}");
    }
    assert_eq!(mode_and_holders(&server), "shared a");
    assert_eq!(say(&server, "LOCK.CHECK k a").array()[0], fence);
    release_all(&server, &["a"]);
    assert!(say(&server, "LOCK.ACQUIRE k a").int() > fence);
    release_all(&server, &["a"]);
    assert_all_over(&server);
}

#[test]
fn downgrade_is_seen_by_watchers_trackers_and_subscribers() {
    let server = Server::builder().config("notify-keyspace-events Kd").start();
    say(&server, "LOCK.ACQUIRE k a").int();
    let [mut watcher, mut tracker, mut events] = [(); 3].map(|()| server.client());
    assert_eq!(watcher.cmd(&["WATCH", "k"]), "OK");
    tracker.resp3();
    assert_eq!(tracker.cmd(&["CLIENT", "TRACKING", "ON"]), "OK");
    tracker.cmd(&["LOCK.CHECK", "k", "a"]).array();
    events.cmd(&["SUBSCRIBE", "__keyspace@0__:k"]);
    downgrade(&server);
    assert_eq!(watcher.cmd(&["MULTI"]), "OK");
    assert_eq!(watcher.cmd(&["PING"]), "QUEUED");
    assert!(watcher.cmd(&["EXEC"]).is_nil());
    assert_eq!(tracker.pushes().len(), 1);
    assert_eq!(events.read().array()[2], "lock.downgrade");
    release_all(&server, &["a"]);
    assert_eq!(events.read().array()[2], "lock.release");
    assert_all_over(&server);
}

#[test]
fn downgrade_works_in_transactions_and_scripts() {
    let (server, fence) = held();
    let mut b = wait(&server, "LOCK.ACQUIRE k b SHARED BLOCK 0");
    let script = "local done = redis.call('LOCK.RELEASE', KEYS[1], ARGV[1], 'DOWNGRADE')
        return {done, redis.call('LOCK.INFO', KEYS[1])[2]}";
    let answer = server.cmd(&["EVAL", script, "1", "k", "a"]);
    assert_eq!((&answer.array()[0], answer.array()[1].text()), (&Value::Int(1), "shared".to_owned()));
    assert!(b.read().int() > fence);
    release_all(&server, &["b"]);
    release_all(&server, &["a"]);
    assert_all_over(&server);
}
