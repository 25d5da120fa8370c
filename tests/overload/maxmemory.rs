//! maxmemory is reached while many clients wait, under each eviction policy: nobody gets a lock that is not free, nobody
//! waits for ever, and the memory is freed in the end.

use std::collections::HashMap;
use std::time::Duration;

use support::{acquire, args, can_open, client_count, poll, until, until_some, waiter, Client, Server, Value, Waiters};

/// How long a server may take to free the memory of many clients: it unblocks some 500 a second.
const GIVEN_BACK: Duration = Duration::from_secs(60);

#[track_caller]
fn limit_memory(server: &Server, bytes: i64) {
    assert_eq!(server.cmd(&args!["CONFIG", "SET", "maxmemory", bytes]), "OK");
}

#[track_caller]
fn used(server: &Server) -> i64 {
    server.info_number("memory", "used_memory")
}

#[track_caller]
fn assert_out_of_memory(answer: &Value) {
    assert!(answer.err_text().starts_with("OOM "), "{answer:?}");
}

/// The i-th client asks to wait for this lock.
fn ask_to_wait(client: &mut Client, key: &str, i: usize) {
    client.send(&args!["LOCK.ACQUIRE", key, format!("w{i}"), "PX", 600_000, "BLOCK", 0]);
}

/// Returns when the server has answered whatever was sent before.
fn settle(server: &Server) {
    (0..2).for_each(|_| assert_eq!(server.cmd(&["PING"]), "PONG"));
}

#[test]
fn waiting_clients_are_served_while_the_server_is_out_of_memory() {
    const LOCKS: usize = 10;
    let clients = client_count(1000);
    if !can_open(clients) {
        return;
    }
    let server = Server::builder()
        .config(format!("maxclients {}", clients + 100))
        .config(format!("redislock.max-waiters {clients}"))
        .start();
    let mut before = None;
    for _ in 0..2 {
        let mut queues: Vec<Waiters> = (0..LOCKS).map(|_| Waiters::new()).collect();
        for n in 0..LOCKS {
            server.cmd(&args!["LOCK.ACQUIRE", format!("k{n}"), "first", "PX", 600_000]).int();
        }
        for (i, mut client) in server.connect_many(clients).into_iter().enumerate() {
            ask_to_wait(&mut client, &format!("k{}", i % LOCKS), i);
            queues[i % LOCKS].insert(format!("w{i}"), client);
        }
        settle(&server);
        limit_memory(&server, 1);
        assert_out_of_memory(&server.cmd(&["LOCK.ACQUIRE", "new", "x"]));
        assert_out_of_memory(&server.cmd(&["LOCK.ACQUIRE", "k1", "x", "BLOCK", "0"]));
        // The first one's lease ends by itself.
        assert_eq!(server.cmd(&["LOCK.EXTEND", "k0", "first", "PX", "100"]), 1);
        until("its lock has been handed over", || !server.cmd(&["LOCK.CHECK", "k0", "w0"]).is_nil());
        let mut held = 0;
        for (n, waiting) in queues.iter_mut().enumerate() {
            held += server.serve(&format!("k{n}"), waiting);
            assert!(waiting.is_empty());
        }
        assert!((clients + LOCKS - 1..=clients + LOCKS).contains(&held), "{held}");
        limit_memory(&server, 0);
        server.until_many_blocked(0);
        match before {
            None => before = Some(settled_memory(&server)),
            Some(before) => {
                let back = poll(GIVEN_BACK, || (used(&server) < before + (1 << 20)).then_some(()));
                assert!(back.is_some(), "{} bytes are used, {before} were", used(&server));
            }
        }
    }
    server.assert_all_ended();
}

/// The memory in use once the server has given back what unblocked and closed clients had.
fn settled_memory(server: &Server) -> i64 {
    let (mut least, mut same) = (i64::MAX, 0);
    let settled = poll(GIVEN_BACK, || {
        let used = used(server);
        same = if used + (64 << 10) < least { 0 } else { same + 1 };
        least = least.min(used);
        (same > 150).then_some(least)
    });
    settled.expect("the memory use settles")
}

/// Waiters take memory themselves: those for whom there is none are refused, and may wait when others have left.
#[test]
fn waiters_that_fill_the_memory_are_refused_until_there_is_some() {
    const CLIENTS: usize = 400;
    let server = Server::builder().config("maxmemory-policy noeviction").start();
    let mut a = server.client();
    let mut left = server.connect_many(CLIENTS);
    let mut refused_ever = 0;
    let mut limit = 0;
    while !left.is_empty() {
        acquire(&mut a, "k", "a");
        if limit == 0 {
            limit = used(&server) + (8 << 20);
            limit_memory(&server, limit);
        }
        let mut waiting = Waiters::new();
        for (i, client) in left.iter_mut().enumerate() {
            ask_to_wait(client, "k", i);
        }
        settle(&server);
        for (i, mut client) in std::mem::take(&mut left).into_iter().enumerate() {
            match client.try_read(Duration::ZERO) {
                Some(answer) => {
                    assert_out_of_memory(&answer);
                    left.push(client);
                }
                None => {
                    waiting.insert(format!("w{i}"), client);
                }
            }
        }
        refused_ever += left.len();
        assert_eq!(server.cmd(&["LOCK.INFO", "k"]).get("waiters"), i64::try_from(waiting.len()).unwrap());
        assert!(!waiting.is_empty(), "nobody may wait though memory was given back");
        server.serve("k", &mut waiting);
        assert!(waiting.is_empty());
        let back = poll(GIVEN_BACK, || (used(&server) < limit - (1 << 20)).then_some(()));
        assert!(back.is_some(), "{} bytes are used of {limit}", used(&server));
    }
    assert!(refused_ever > 0, "the limit was never reached");
    server.assert_all_ended();
}

const LOCKS: usize = 30;
const STRINGS: usize = 20;

/// A server under this policy: locks that are held and waited for by two each, strings with a TTL and without, and one lock
/// that somebody has given a TTL.
struct Filled {
    server: Server,
    /// Of each lock: the holder's fence, and who waits.
    locks: Vec<(i64, [Client; 2])>,
    /// Who waits for the lock with the TTL.
    next: Client,
}

fn filled(policy: &str) -> Filled {
    let server = Server::builder().config(format!("maxmemory-policy {policy}")).start();
    let mut a = server.client();
    for n in 0..STRINGS {
        a.cmd(&args!["SET", format!("plain{n}"), "x"]);
        a.cmd(&args!["SET", format!("volatile{n}"), "x", "EX", 10_000 + n]);
    }
    acquire(&mut a, "by-hand", "a");
    assert_eq!(a.cmd(&["PEXPIRE", "by-hand", "6000000"]), 1);
    let next = waiter(&server, "by-hand", "b");
    let locks = (0..LOCKS)
        .map(|n| {
            let key = lock(n);
            (acquire(&mut a, &key, "a"), ["b", "c"].map(|owner| waiter(&server, &key, owner)))
        })
        .collect();
    Filled { server, locks, next }
}

/// How many locks the server took away. Valkey 8.1 does not tell that they were evicted.
fn taken_away(server: &Server) -> i64 {
    ["evictions", "operator_removals"]
        .map(|name| server.info_number("redislock", &format!("redislock_{name}")))
        .iter()
        .sum()
}

/// Serves everybody who still holds or waits. The clients in `queues` have not been answered yet.
fn serve_all(server: &Server, mut queues: HashMap<String, Waiters>) {
    limit_memory(server, 0);
    for key in (0..LOCKS).map(lock).chain(["by-hand".to_owned()]) {
        let mut waiting = queues.remove(&key).unwrap_or_default();
        server.serve(&key, &mut waiting);
        assert!(waiting.is_empty(), "{} still wait for {key}", waiting.len());
    }
    server.until_blocked(0);
    assert_eq!(server.cmd(&["FLUSHALL"]), "OK");
    server.assert_all_ended();
}

fn lock(n: usize) -> String {
    format!("lock{n}")
}

/// The waiters of each lock, except of the one with the TTL.
fn queues(locks: Vec<(i64, [Client; 2])>) -> HashMap<String, Waiters> {
    let queue = |[b, c]: [Client; 2]| Waiters::from([("b".to_owned(), b), ("c".to_owned(), c)]);
    locks.into_iter().enumerate().map(|(n, (_, waiters))| (lock(n), queue(waiters))).collect()
}

#[test]
fn volatile_policies_evict_no_lock_but_one_with_a_ttl() {
    for policy in ["volatile-lru", "volatile-lfu", "volatile-random", "volatile-ttl"] {
        let Filled { server, mut locks, mut next } = filled(policy);
        limit_memory(&server, 1);
        // Redis 8.6 gives up when it comes upon no key by chance, and goes on with the next command.
        let evictable = i64::try_from(STRINGS + 1).unwrap();
        until(format!("{policy}: all that may be evicted is"), || {
            server.info_number("stats", "evicted_keys") == evictable
        });
        // Of the one with a TTL the next was granted, and that hold has none.
        next.read().int();
        assert_eq!(server.cmd(&["LOCK.EXTEND", "by-hand", "a"]), 0, "{policy}");
        assert_eq!(taken_away(&server), 1, "{policy}");
        assert_eq!(server.cmd(&["DBSIZE"]), i64::try_from(LOCKS + STRINGS + 1).unwrap(), "{policy}");
        for (n, (fence, waiters)) in locks.iter_mut().enumerate() {
            let key = lock(n);
            assert_eq!(server.cmd(&["LOCK.CHECK", &key, "a"]).array()[0], *fence, "{policy}");
            assert_eq!(server.cmd(&["LOCK.EXTEND", &key, "a"]), 1, "{policy}");
            waiters.iter_mut().for_each(|waiter| server.assert_waiting(waiter));
        }
        assert_out_of_memory(&server.cmd(&["LOCK.ACQUIRE", "new", "x"]));
        assert_eq!(server.cmd(&["LOCK.RELEASE", "by-hand", "b"]), 1);
        serve_all(&server, queues(locks));
    }
}

#[test]
fn allkeys_policies_evict_locks_and_the_next_is_granted_under_a_larger_fence() {
    for policy in ["allkeys-lru", "allkeys-lfu", "allkeys-random"] {
        let Filled { server, mut locks, mut next } = filled(policy);
        limit_memory(&server, 1);
        // Whatever the server does evicts: each hold in turn.
        let granted = until_some(format!("{policy}: the next of the lock with a TTL is granted"), || {
            server.cmd(&["PING"]);
            next.try_read(Duration::ZERO)
        });
        granted.int();
        for (n, (fence, waiters)) in locks.iter_mut().enumerate() {
            let key = lock(n);
            let mut last = *fence;
            for waiter in waiters {
                until(format!("{policy}: the next of {key} is granted"), || {
                    server.cmd(&["PING"]);
                    match waiter.try_read(Duration::ZERO) {
                        Some(granted) => {
                            assert!(granted.int() > last, "{policy}: {granted:?} after {last}");
                            last = granted.int();
                            true
                        }
                        None => false,
                    }
                });
            }
            for owner in ["a", "b"] {
                assert_eq!(server.cmd(&["LOCK.EXTEND", &key, owner]), 0, "{policy}: {owner} lost {key}");
            }
        }
        assert!(taken_away(&server) > i64::try_from(2 * LOCKS).unwrap(), "{policy}");
        serve_all(&server, HashMap::new());
    }
}

#[test]
fn noeviction_takes_nothing_away() {
    let Filled { server, locks, next } = filled("noeviction");
    limit_memory(&server, 1);
    assert_out_of_memory(&server.cmd(&["LOCK.ACQUIRE", "new", "x"]));
    assert_eq!(server.cmd(&["DBSIZE"]), i64::try_from(LOCKS + 2 * STRINGS + 1).unwrap());
    assert_eq!(taken_away(&server), 0);
    let mut queues = queues(locks);
    queues.insert("by-hand".into(), Waiters::from([("b".to_owned(), next)]));
    serve_all(&server, queues);
}
