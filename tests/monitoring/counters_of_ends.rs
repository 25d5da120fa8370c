//! INFO redislock: removals by operators of every kind, evictions, how long waits and holds were, and what a restart and
//! a replica tell.

use support::{acquire, args, release, run, until, until_synced, waiter, Server};

#[track_caller]
fn field(server: &Server, name: &str) -> i64 {
    server.info_number("redislock", &format!("redislock_{name}"))
}

/// What counts as an end of some kind.
#[track_caller]
fn ends(server: &Server) -> [i64; 6] {
    ["operator_removals", "evictions", "releases", "lease_ends", "session_ends", "undelivered_grants"]
        .map(|name| field(server, name))
}

/// Panics unless exactly that many operator removals, and no end of any other kind, follow from the commands.
#[track_caller]
fn assert_removes(server: &Server, commands: &str, removed: i64) {
    let mut c = server.client();
    for command in commands.split("; ") {
        let answer = run(&mut c, command);
        assert!(!answer.is_err(), "{command}: {answer:?}");
    }
    until(format!("{removed} removals by {commands}"), || field(server, "operator_removals") == removed);
    assert_eq!(ends(server), [removed, 0, 0, 0, 0, 0], "{commands}");
    assert_eq!(field(server, "locks_held"), 0, "{commands}");
}

#[test]
fn removals_by_operators_count_by_lock() {
    for (commands, removed) in [
        ("DEL k1", 1),
        ("DEL k1 k2 nothing", 2),
        ("UNLINK k1 k2", 2),
        ("SET k1 x", 1),
        ("LPUSH list x; RENAME list k1", 1),
        ("LPUSH list 1; SORT list STORE k1", 1),
        ("SUNIONSTORE k1 nothing", 1),
        ("PEXPIRE k1 0", 1),
        ("PEXPIRE k1 20", 1),
        ("EVAL redis.call('DEL',KEYS[1]) 1 k1", 1),
        ("MULTI; DEL k1; UNLINK k2; EXEC", 2),
        ("FLUSHDB SYNC", 2),
        ("FLUSHALL SYNC", 2),
        ("FLUSHDB ASYNC", 2),
        ("FLUSHALL ASYNC", 2),
    ] {
        let server = Server::start();
        let mut c = server.client();
        for number in 1..=removed {
            acquire(&mut c, &format!("k{number}"), "a");
        }
        run(&mut c, "SET other x");
        assert_removes(&server, commands, removed);
        server.assert_clean();
    }
}

/// FLUSHALL takes all databases, FLUSHDB one.
#[test]
fn flush_counts_the_locks_of_the_databases_that_it_empties() {
    let server = Server::start();
    let mut c = server.client();
    for database in [0, 0, 1, 2] {
        c.select(database);
        acquire(&mut c, &format!("k{}", field(&server, "grants_at_once")), "a");
    }
    c.select(0);
    run(&mut c, "FLUSHDB");
    until("two are removed", || field(&server, "operator_removals") == 2);
    assert_eq!(field(&server, "locks_held"), 2);
    run(&mut c, "FLUSHALL");
    until("all are removed", || field(&server, "operator_removals") == 4);
    assert_eq!(field(&server, "locks_held"), 0);
    server.assert_clean();
}

/// A hold put in the place of another one ends that one.
#[test]
fn lock_overwritten_by_another_counts_as_removed() {
    let server = Server::start();
    if !server.hears_of_moved_keys() {
        return;
    }
    let mut c = server.client();
    acquire(&mut c, "k1", "a");
    acquire(&mut c, "k2", "b");
    assert_eq!(run(&mut c, "RENAME k1 k2"), "OK");
    until("the one under the target's name is counted", || field(&server, "operator_removals") == 1);
    assert_eq!(field(&server, "locks_held"), 1);
    let payload = c.cmd(&["DUMP", "k2"]).bytes().to_vec();
    assert_eq!(c.cmd(&args!["RESTORE", "k2", 0, payload, "REPLACE"]), "OK");
    until("the replaced one is counted", || field(&server, "operator_removals") == 2);
    assert_eq!(field(&server, "locks_held"), 1);
    release(&mut c, "k2", "a");
    assert_eq!(ends(&server), [2, 0, 1, 0, 0, 0]);
    assert_eq!(field(&server, "locks_held"), 0);
    server.assert_clean();
}

/// The removal is the operator's, the grant that follows is the waiter's.
#[test]
fn removal_with_a_waiter_counts_the_removal_and_the_grant() {
    let server = Server::start();
    let mut c = server.client();
    acquire(&mut c, "k", "a");
    let mut w = waiter(&server, "k", "w");
    assert_eq!(run(&mut c, "DEL k"), 1);
    w.read().int();
    assert_eq!(ends(&server), [1, 0, 0, 0, 0, 0]);
    let counted = ["locks_held", "waiters", "grants_after_waiting"].map(|name| field(&server, name));
    assert_eq!(counted, [1, 0, 1]);
    server.assert_clean();
}

/// A key that is removed after its last lease ran out was no hold any more.
#[test]
fn end_of_the_lease_before_a_removal_is_a_lease_end() {
    let server = Server::start();
    let mut c = server.client();
    run(&mut c, "LOCK.ACQUIRE k a PX 20").int();
    until("the lease ends", || field(&server, "lease_ends") == 1);
    assert_eq!(run(&mut c, "DEL k"), 0);
    assert_eq!(ends(&server), [0, 0, 0, 1, 0, 0]);
    server.assert_clean();
}

/// Trap 18: allkeys-* evicts locks like any key, and that is told apart.
#[test]
fn evictions_count_apart_from_removals() {
    let server = Server::builder().config("maxmemory-policy allkeys-random").start();
    // Where the module cannot listen to keyspace events, evictions count as removals.
    if !server.hears_of_moved_keys() {
        return;
    }
    let mut c = server.client();
    for number in 0..5 {
        acquire(&mut c, &format!("k{number}"), "a");
    }
    let mut w = waiter(&server, "k0", "w");
    // Nothing fits into one byte: every key goes.
    assert_eq!(run(&mut c, "CONFIG SET maxmemory 1"), "OK");
    until("all five are evicted", || field(&server, "evictions") >= 5 || run(&mut c, "SET x y").is_nil());
    assert_eq!(run(&mut c, "CONFIG SET maxmemory 0"), "OK");
    w.read().int();
    assert_eq!(run(&mut c, "LOCK.EXTEND k0 a"), 0);
    let [removed, evicted, others @ ..] = ends(&server);
    assert_eq!((removed, others), (0, [0; 4]));
    assert!(evicted >= 5, "{evicted}");
    assert_eq!(server.info_number("stats", "evicted_keys"), evicted, "only locks were there");
    server.assert_clean();
}

/// Trap 18: the volatile-* policies leave locks alone.
#[test]
fn volatile_policies_evict_no_lock() {
    let server = Server::builder().config("maxmemory-policy volatile-random").start();
    let mut c = server.client();
    acquire(&mut c, "k", "a");
    assert_eq!(run(&mut c, "SET passing x EX 1000"), "OK");
    assert_eq!(run(&mut c, "CONFIG SET maxmemory 1"), "OK");
    until("the passing key is evicted", || {
        run(&mut c, "SET x y");
        run(&mut c, "EXISTS passing") == 0
    });
    assert_eq!(run(&mut c, "LOCK.EXTEND k a"), 1);
    release(&mut c, "k", "a");
    assert_eq!(ends(&server), [0, 0, 1, 0, 0, 0]);
    server.assert_clean();
}

/// The three figures of `wait` or `hold` in microseconds: p50, p99, max.
#[track_caller]
fn times(server: &Server, of: &str) -> [i64; 3] {
    let [p50, p99, max] = ["p50", "p99", "max"].map(|figure| field(server, &format!("{of}_us_{figure}")));
    assert!(0 <= p50 && p50 <= p99 && p99 <= max, "{of}: {p50} {p99} {max}");
    [p50, p99, max]
}

/// At least that long, by the server's own clock: a wait that runs out.
#[track_caller]
fn let_pass(server: &Server, ms: u32) {
    let mut c = server.client();
    c.select(9);
    acquire(&mut c, "clock", "x");
    assert!(c.cmd(&args!["LOCK.ACQUIRE", "clock", "y", "BLOCK", ms]).is_nil());
    release(&mut c, "clock", "x");
}

#[test]
fn wait_times_are_those_of_granted_waits() {
    let server = Server::start();
    let mut a = server.client();
    acquire(&mut a, "k", "a");
    assert!(run(&mut a, "LOCK.ACQUIRE k b BLOCK 60").is_nil());
    assert_eq!(times(&server, "wait"), [0; 3], "neither a grant at once nor a wait that ran out");
    let mut w = waiter(&server, "k", "w");
    let_pass(&server, 60);
    release(&mut a, "k", "a");
    w.read().int();
    let [p50, _, max] = times(&server, "wait");
    assert!((60_000..20_000_000).contains(&max), "{max}");
    assert!((30_000..=max).contains(&p50), "the only one: {p50} of {max}");
    server.assert_clean();
}

/// Many short ones and one long one: the middle is short, the largest is the long one.
#[test]
fn hold_times_are_those_of_ended_holds() {
    let server = Server::start();
    let mut a = server.client();
    acquire(&mut a, "k", "a");
    let_pass(&server, 60);
    let before = times(&server, "hold")[2];
    release(&mut a, "k", "a");
    let [_, _, max] = times(&server, "hold");
    assert!(max >= 60_000 && max >= before, "{max}");
    for _ in 0..200 {
        let answers = a.pipeline(&[&["LOCK.ACQUIRE", "k", "a"][..], &["LOCK.RELEASE", "k", "a"]]);
        assert_eq!(answers[1], 1);
    }
    let [p50, _, now] = times(&server, "hold");
    assert!(p50 < 30_000, "{p50}");
    assert_eq!(now, max, "the longest is remembered");
    server.assert_clean();
}

#[test]
fn holds_ended_by_their_lease_count_in_hold_times() {
    let server = Server::start();
    let mut a = server.client();
    run(&mut a, "LOCK.ACQUIRE k a PX 50").int();
    until("the lease ends", || field(&server, "lease_ends") == 1);
    let [p50, _, max] = times(&server, "hold");
    assert!((50_000..20_000_000).contains(&max), "{max}");
    assert!((25_000..=max).contains(&p50), "{p50}");
    server.assert_clean();
}

/// A restart begins anew; what is there is told.
#[test]
fn counters_begin_with_the_process_and_the_locks_are_those_that_were_loaded() {
    let server = Server::start();
    let mut c = server.client();
    for key in ["k1", "k2", "k3"] {
        acquire(&mut c, key, "a");
    }
    release(&mut c, "k3", "a");
    server.save();
    server.restart();
    let mut found = server.info("redislock");
    assert_eq!(found.remove("redislock_locks_held").unwrap(), "2");
    assert!(found.values().all(|value| value == "0"), "{found:?}");
    server.assert_clean();
}

/// It applies what its primary decided, and counts nothing of it.
#[test]
fn replica_counts_no_decisions() {
    let primary = Server::start();
    let replica = Server::builder().replica_of(&primary).start();
    until_synced(&primary, &replica);
    let mut c = primary.client();
    for request in ["LOCK.ACQUIRE k a", "LOCK.EXTEND k a", "LOCK.RELEASE k a DOWNGRADE", "LOCK.RELEASE k a"] {
        run(&mut c, request);
    }
    run(&mut c, "LOCK.ACQUIRE k a PX 20").int();
    run(&mut c, "LOCK.ACQUIRE k b BLOCK 0").int();
    release(&mut c, "k", "b");
    acquire(&mut c, "k", "x");
    assert_eq!(run(&mut c, "DEL k"), 1);
    until_synced(&primary, &replica);
    let found = replica.info("redislock");
    assert!(found.values().all(|value| value == "0"), "{found:?}");
    assert_eq!(field(&primary, "operator_removals"), 1);
    primary.assert_clean();
    replica.assert_clean();
}

/// What left the key before was a lock; what is evicted now is none.
#[test]
fn evicted_string_under_the_name_of_a_removed_lock_is_no_evicted_lock() {
    let server = Server::builder().config("maxmemory-policy allkeys-random").start();
    let mut c = server.client();
    acquire(&mut c, "k", "a");
    assert_eq!(run(&mut c, "DEL k"), 1);
    assert_eq!(run(&mut c, "SET k x"), "OK");
    assert_eq!(run(&mut c, "CONFIG SET maxmemory 1"), "OK");
    until("the string is evicted", || {
        server.info_number("stats", "evicted_keys") == 1 || run(&mut c, "GET k").is_nil()
    });
    assert_eq!(run(&mut c, "CONFIG SET maxmemory 0"), "OK");
    assert_eq!(ends(&server), [1, 0, 0, 0, 0, 0]);
    server.assert_clean();
}

/// The holds go on, so nothing was removed.
#[test]
fn reloaded_data_are_no_removals() {
    let server = Server::start();
    let mut c = server.client();
    for key in ["k1", "k2"] {
        acquire(&mut c, key, "a");
    }
    assert_eq!(run(&mut c, "DEBUG RELOAD"), "OK");
    assert_eq!(field(&server, "locks_held"), 2);
    assert_eq!(ends(&server), [0; 6]);
    for key in ["k1", "k2"] {
        release(&mut c, key, "a");
    }
    assert_eq!(ends(&server), [0, 0, 2, 0, 0, 0]);
    server.assert_clean();
}

/// Trap 27: such a load empties nothing first, and what was flushed before stays flushed.
#[test]
fn flush_long_before_a_load_stays_counted() {
    let server = Server::builder().config("repl-diskless-load swapdb").start();
    let other = Server::start();
    let mut c = server.client();
    for key in ["k1", "k2"] {
        acquire(&mut c, key, "a");
    }
    assert_eq!(run(&mut c, "FLUSHALL"), "OK");
    assert_eq!(ends(&server), [2, 0, 0, 0, 0, 0]);
    acquire(&mut other.client(), "k1", "a");
    // The first sync gives it the history that lets the second one load beside the old data.
    for _ in 0..2 {
        assert_eq!(run(&mut c, &format!("REPLICAOF 127.0.0.1 {}", other.port())), "OK");
        until_synced(&other, &server);
        assert_eq!(ends(&server), [2, 0, 0, 0, 0, 0]);
        assert_eq!(run(&mut c, "REPLICAOF NO ONE"), "OK");
    }
    server.assert_clean();
}
