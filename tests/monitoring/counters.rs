//! INFO redislock: every counter counts exactly the events that it names. Each test states the whole of what changed.

use std::collections::BTreeMap;
use std::time::Duration;

use support::{acquire, exec, poll, release, run, skip, waiter, Client, Server, Value};

/// Every field that counts, or tells how many there are now.
const COUNTS: [&str; 22] = [
    "locks_held",
    "waiters",
    "start_quarantine_left_ms",
    "grants_at_once",
    "grants_after_waiting",
    "refusals",
    "wait_timeouts",
    "waits_withdrawn",
    "waits_abandoned",
    "waits_denied",
    "waits_redirected",
    "releases",
    "downgrades",
    "extensions",
    "lease_ends",
    "session_ends",
    "coolings",
    "undelivered_grants",
    "operator_removals",
    "evictions",
    "moved_away",
    "deadlocks_refused",
];

/// Every field that tells how long.
const TIMES: [&str; 6] = ["wait_us_p50", "wait_us_p99", "wait_us_max", "hold_us_p50", "hold_us_p99", "hold_us_max"];

/// All fields of INFO redislock, without their prefix.
#[track_caller]
fn fields(server: &Server) -> BTreeMap<String, i64> {
    let info = server.info("redislock").into_iter();
    info.map(|(name, value)| (name.strip_prefix("redislock_").unwrap().to_owned(), value.parse().unwrap())).collect()
}

/// What the counters of a server said when last looked at.
struct Counters {
    server: Server,
    seen: BTreeMap<String, i64>,
}

impl Counters {
    fn of(server: Server) -> Counters {
        let seen = fields(&server);
        Counters { server, seen }
    }

    fn new() -> Counters {
        Counters::of(Server::start())
    }

    /// Exactly these counters moved since the last call, by so much. What happens by itself is waited for.
    #[track_caller]
    fn moved(&mut self, expected: &[(&str, i64)]) {
        let expected: BTreeMap<&str, i64> = expected.iter().copied().collect();
        let look = |seen: &BTreeMap<String, i64>| {
            let now = fields(&self.server);
            let by: BTreeMap<&str, i64> = COUNTS.iter().map(|name| (*name, now[*name] - seen[*name])).collect();
            (by.into_iter().filter(|(_, by)| *by != 0).collect::<BTreeMap<_, _>>(), now)
        };
        poll(Duration::from_secs(5), || (look(&self.seen).0 == expected).then_some(()));
        let (by, now) = look(&self.seen);
        assert_eq!(by, expected);
        self.seen = now;
    }

    /// The end of a test: nothing moved that was not looked at.
    #[track_caller]
    fn end(mut self) {
        self.server.assert_clean();
        self.moved(&[]);
    }
}

#[test]
fn info_has_every_field_and_a_new_server_counts_from_nothing() {
    let server = Server::start();
    let text = server.cmd(&["INFO", "redislock"]).text();
    assert!(text.contains("# redislock\r\n"), "{text}");
    let found = fields(&server);
    let mut names: Vec<&str> = found.keys().map(String::as_str).collect();
    let mut expected = [&COUNTS[..], &TIMES].concat();
    names.sort_unstable();
    expected.sort_unstable();
    assert_eq!(names, expected);
    assert!(found.values().all(|value| *value == 0), "{found:?}");
    let everything = server.cmd(&["INFO", "everything"]).text();
    assert!(everything.contains("redislock_locks_held:0"), "{everything}");
    server.assert_clean();
}

#[test]
fn grants_refusals_releases_and_extensions_count() {
    let mut counters = Counters::new();
    let mut c = counters.server.client();
    acquire(&mut c, "k", "a");
    counters.moved(&[("locks_held", 1), ("grants_at_once", 1)]);
    assert!(run(&mut c, "LOCK.ACQUIRE k b").is_nil());
    counters.moved(&[("refusals", 1)]);
    assert!(run(&mut c, "LOCK.ACQUIRE k b SHARED").is_nil());
    assert_eq!(exec(&mut c, &["LOCK.ACQUIRE k b BLOCK 0"]), [Value::NullBulk]);
    counters.moved(&[("refusals", 2)]);
    for request in ["LOCK.EXTEND k a", "LOCK.EXTEND k a PX 900000", "LOCK.EXTEND k a EX 900"] {
        assert_eq!(run(&mut c, request), 1);
    }
    counters.moved(&[("extensions", 3)]);
    release(&mut c, "k", "a");
    counters.moved(&[("locks_held", -1), ("releases", 1)]);
    let script =
        "local f = redis.call('LOCK.ACQUIRE', KEYS[1], 'a'); redis.call('LOCK.RELEASE', KEYS[1], 'a'); return f";
    c.cmd(&["EVAL", script, "1", "k"]).int();
    exec(&mut c, &["LOCK.ACQUIRE k *", "LOCK.ACQUIRE k2 a", "LOCK.RELEASE k2 a"]);
    counters.moved(&[("locks_held", 1), ("grants_at_once", 3), ("releases", 2)]);
    counters.end();
}

/// Questions, repeated requests and what is refused as nobody's or as nonsense.
#[test]
fn what_changes_nothing_counts_nowhere() {
    let mut counters = Counters::new();
    let mut c = counters.server.client();
    acquire(&mut c, "k", "a");
    run(&mut c, "LOCK.ACQUIRE s a SHARED").int();
    run(&mut c, "SET string x");
    counters.moved(&[("locks_held", 2), ("grants_at_once", 2)]);
    for request in [
        "LOCK.ACQUIRE k a",
        "LOCK.ACQUIRE k a PX 900000 BLOCK 0",
        "LOCK.ACQUIRE k a SHARED",
        "LOCK.ACQUIRE k a SESSION",
        "LOCK.ACQUIRE k a",
        "LOCK.ACQUIRE s a SHARED LIMIT 3",
        "LOCK.EXTEND k b",
        "LOCK.EXTEND k a FENCE 1",
        "LOCK.EXTEND free a",
        "LOCK.RELEASE k b",
        "LOCK.RELEASE k a FENCE 1",
        "LOCK.RELEASE free a",
        "LOCK.RELEASE s a DOWNGRADE",
        "LOCK.RELEASE free a DOWNGRADE",
        "LOCK.CHECK k a",
        "LOCK.CHECK k b",
        "LOCK.INFO k",
        "LOCK.INFO free",
        "LOCK.ACQUIRE s a",
        "LOCK.ACQUIRE k b PX 0",
        "LOCK.ACQUIRE string a BLOCK 0",
        "LOCK.RELEASE string a",
        "LOCK.EXTEND k",
    ] {
        run(&mut c, request);
        counters.moved(&[]);
    }
    counters.end();
}

/// An operator moved the hold: nothing ended.
#[test]
fn moved_locks_are_no_removals() {
    let mut counters = Counters::new();
    if !counters.server.hears_of_moved_keys() {
        return;
    }
    let mut c = counters.server.client();
    acquire(&mut c, "k", "a");
    counters.moved(&[("locks_held", 1), ("grants_at_once", 1)]);
    for request in ["RENAME k k2", "RENAMENX k2 k", "SWAPDB 0 1", "SWAPDB 0 1", "MOVE k 1"] {
        assert!(!run(&mut c, request).is_err());
        counters.moved(&[]);
    }
    c.select(1);
    release(&mut c, "k", "a");
    counters.moved(&[("locks_held", -1), ("releases", 1)]);
    counters.end();
}

#[test]
fn waits_count_by_how_they_end() {
    let mut counters = Counters::new();
    let mut a = counters.server.client();
    acquire(&mut a, "k", "a");
    let mut b = waiter(&counters.server, "k", "b");
    counters.moved(&[("locks_held", 1), ("grants_at_once", 1), ("waiters", 1)]);
    release(&mut a, "k", "a");
    b.read().int();
    counters.moved(&[("waiters", -1), ("releases", 1), ("grants_after_waiting", 1)]);
    assert!(run(&mut a, "LOCK.ACQUIRE k c BLOCK 20").is_nil());
    counters.moved(&[("wait_timeouts", 1)]);
    let (mut d, mut d2) = (waiter(&counters.server, "k", "d"), waiter(&counters.server, "k", "d"));
    counters.moved(&[("waiters", 2)]);
    assert_eq!(run(&mut a, "LOCK.RELEASE k d"), 0);
    assert!(d.read().is_nil() && d2.read().is_nil());
    counters.moved(&[("waiters", -2), ("waits_withdrawn", 2)]);
    waiter(&counters.server, "k", "e").close();
    waiter(&counters.server, "k", "f").reset();
    counters.moved(&[("waits_abandoned", 2)]);
    counters.end();
}

/// A waiter for `k`, which is held, and its id.
#[track_caller]
fn waiter_to_end(counters: &Counters) -> (Client, i64) {
    let mut client = counters.server.client();
    let id = client.id();
    counters.server.send_to_wait(&mut client, &["LOCK.ACQUIRE", "k", "b", "BLOCK", "0"]);
    (client, id)
}

#[test]
fn waits_ended_by_client_kill_are_abandoned() {
    let mut counters = Counters::new();
    let mut a = counters.server.client();
    acquire(&mut a, "k", "a");
    let (mut b, id) = waiter_to_end(&counters);
    counters.moved(&[("locks_held", 1), ("grants_at_once", 1), ("waiters", 1)]);
    assert_eq!(run(&mut a, &format!("CLIENT KILL ID {id}")), 1);
    b.expect_closed();
    counters.moved(&[("waiters", -1), ("waits_abandoned", 1)]);
    counters.end();
}

#[test]
fn waits_ended_by_client_unblock_are_abandoned() {
    let mut counters = Counters::new();
    if !counters.server.version().can_unblock_waiters() {
        return skip("below Redis 7.4 and Valkey 8 CLIENT UNBLOCK does not reach waiters");
    }
    let mut a = counters.server.client();
    acquire(&mut a, "k", "a");
    counters.moved(&[("locks_held", 1), ("grants_at_once", 1)]);
    for how in ["TIMEOUT", "ERROR"] {
        let (mut b, id) = waiter_to_end(&counters);
        assert_eq!(run(&mut a, &format!("CLIENT UNBLOCK {id} {how}")), 1);
        b.read();
        counters.moved(&[("waits_abandoned", 1)]);
    }
    counters.end();
}

/// One hold is one grant, however many requests of its owner it answers.
#[test]
fn two_waits_of_one_owner_count_as_one_grant() {
    let mut counters = Counters::new();
    let mut a = counters.server.client();
    acquire(&mut a, "k", "a");
    let (mut first, mut second) = (waiter(&counters.server, "k", "b"), waiter(&counters.server, "k", "b"));
    counters.moved(&[("locks_held", 1), ("grants_at_once", 1), ("waiters", 2)]);
    release(&mut a, "k", "a");
    assert_eq!(first.read(), second.read());
    counters.moved(&[("waiters", -2), ("releases", 1), ("grants_after_waiting", 1)]);
    counters.end();
}

#[test]
fn shared_holds_count_as_grants_each_and_as_one_lock() {
    let mut counters = Counters::new();
    let mut c = counters.server.client();
    for owner in ["a", "b", "c"] {
        run(&mut c, &format!("LOCK.ACQUIRE k {owner} SHARED LIMIT 3")).int();
    }
    counters.moved(&[("locks_held", 1), ("grants_at_once", 3)]);
    assert!(run(&mut c, "LOCK.ACQUIRE k d SHARED").is_nil());
    counters.moved(&[("refusals", 1)]);
    release(&mut c, "k", "b");
    release(&mut c, "k", "a");
    counters.moved(&[("releases", 2)]);
    release(&mut c, "k", "c");
    counters.moved(&[("locks_held", -1), ("releases", 1)]);
    counters.end();
}

#[test]
fn downgrades_count_with_the_grants_they_allow() {
    let mut counters = Counters::new();
    let (mut a, mut b) = (counters.server.client(), counters.server.client());
    acquire(&mut a, "k", "a");
    counters.server.send_to_wait(&mut b, &["LOCK.ACQUIRE", "k", "b", "SHARED", "BLOCK", "0"]);
    counters.moved(&[("locks_held", 1), ("grants_at_once", 1), ("waiters", 1)]);
    assert_eq!(run(&mut a, "LOCK.RELEASE k a DOWNGRADE"), 1);
    b.read().int();
    counters.moved(&[("downgrades", 1), ("waiters", -1), ("grants_after_waiting", 1)]);
    assert_eq!(run(&mut a, "LOCK.RELEASE k a DOWNGRADE"), 1);
    counters.end();
}

#[test]
fn lease_ends_count_whoever_notices() {
    let mut counters = Counters::new();
    let mut c = counters.server.client();
    run(&mut c, "LOCK.ACQUIRE k a PX 20").int();
    counters.moved(&[("grants_at_once", 1), ("lease_ends", 1)]);
    run(&mut c, "LOCK.ACQUIRE k a PX 20").int();
    run(&mut c, "LOCK.ACQUIRE k b PX 20 BLOCK 0").int();
    counters.moved(&[("grants_at_once", 1), ("grants_after_waiting", 1), ("lease_ends", 2)]);
    c.send_many(&[
        &["LOCK.ACQUIRE", "k", "a", "PX", "20"][..],
        &["DEBUG", "SLEEP", "0.05"],
        &["LOCK.ACQUIRE", "k", "b", "PX", "600000"],
        &["LOCK.RELEASE", "k", "a"],
    ]);
    (0..4).for_each(|_| drop(c.read()));
    counters.moved(&[("locks_held", 1), ("grants_at_once", 2), ("lease_ends", 1)]);
    counters.end();
}

#[test]
fn session_ends_count() {
    let mut counters = Counters::new();
    let (mut a, mut b) = (counters.server.client(), counters.server.client());
    for key in ["k", "k2"] {
        a.cmd(&["LOCK.ACQUIRE", key, "a", "SESSION"]).int();
    }
    counters.server.send_to_wait(&mut b, &["LOCK.ACQUIRE", "k", "b", "BLOCK", "0"]);
    counters.moved(&[("locks_held", 2), ("grants_at_once", 2), ("waiters", 1)]);
    a.close();
    b.read().int();
    counters.moved(&[("locks_held", -1), ("session_ends", 2), ("waiters", -1), ("grants_after_waiting", 1)]);
    counters.end();
}

/// Trap 4: the waiter was granted and died before it could be told.
#[test]
fn undelivered_grants_count() {
    let mut counters = Counters::new();
    let (mut a, mut b) = (counters.server.client(), counters.server.client());
    acquire(&mut a, "k", "a");
    let id = b.id();
    counters.server.send_to_wait(&mut b, &["LOCK.ACQUIRE", "k", "b", "BLOCK", "0"]);
    let mut c = waiter(&counters.server, "k", "c");
    counters.moved(&[("locks_held", 1), ("grants_at_once", 1), ("waiters", 2)]);
    exec(&mut a, &["LOCK.RELEASE k a", &format!("CLIENT KILL ID {id}")]);
    c.read().int();
    counters.moved(&[("waiters", -2), ("releases", 1), ("grants_after_waiting", 2), ("undelivered_grants", 1)]);
    counters.end();
}

#[test]
fn deadlocks_refused_count_and_are_no_refusals() {
    let mut counters = Counters::new();
    let (mut a, mut b) = (counters.server.client(), counters.server.client());
    acquire(&mut a, "k1", "a");
    acquire(&mut b, "k2", "b");
    counters.server.send_to_wait(&mut b, &["LOCK.ACQUIRE", "k1", "b", "BLOCK", "0"]);
    counters.moved(&[("locks_held", 2), ("grants_at_once", 2), ("waiters", 1)]);
    for _ in 0..2 {
        assert!(run(&mut a, "LOCK.ACQUIRE k2 a BLOCK 0").err_text().starts_with("DEADLOCK "));
    }
    counters.moved(&[("deadlocks_refused", 2)]);
    b.close();
    counters.moved(&[("waiters", -1), ("waits_abandoned", 1)]);
    counters.end();
}

/// The wait ended because there is no lock to wait for any more.
#[test]
fn waiters_of_a_key_that_became_another_type_leave_the_count() {
    let mut counters = Counters::new();
    let mut a = counters.server.client();
    acquire(&mut a, "k", "a");
    let mut b = waiter(&counters.server, "k", "b");
    counters.moved(&[("locks_held", 1), ("grants_at_once", 1), ("waiters", 1)]);
    assert_eq!(run(&mut a, "SET k x"), "OK");
    assert!(b.read().err_text().starts_with("WRONGTYPE "));
    counters.moved(&[("locks_held", -1), ("waiters", -1), ("operator_removals", 1)]);
    counters.end();
}
