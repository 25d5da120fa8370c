//! Exclusion by a quorum of independent servers, one of which loses its data. The client here follows the protocol by hand,
//! and goes on believing in its hold until its validity is over, as a client does that does not ask the servers again.

use std::time::{Duration, Instant};

use support::{args, poll, Server, Value};

/// Longer than any test, in milliseconds.
const LONG_MS: u64 = 600_000;
/// A share of the lease for clocks that drift apart is taken off its end, and so much besides.
const DRIFT: Duration = Duration::from_millis(2);

/// The hold of `k` by a majority of the servers.
struct Held {
    owner: &'static str,
    fence: i64,
    valid_until: Instant,
}

fn majority(servers: &[Server]) -> usize {
    servers.len() / 2 + 1
}

fn release(servers: &[Server], owner: &str) {
    for server in servers {
        server.cmd(&["LOCK.RELEASE", "k", owner]);
    }
}

/// Asks all servers once. What is no fence counts as not granted.
fn acquire(servers: &[Server], owner: &'static str, lease_ms: u64) -> Option<Held> {
    let begun = Instant::now();
    let ask = |server: &Server| match server.cmd(&args!["LOCK.ACQUIRE", "k", owner, "PX", lease_ms]) {
        Value::Int(fence) => Some(fence),
        _ => None,
    };
    let fences: Vec<Option<i64>> = servers.iter().map(ask).collect();
    let fence = fences.iter().flatten().copied().max().unwrap_or(0);
    let raise = args!["LOCK.EXTEND", "k", owner, "PX", lease_ms, "RAISE", fence];
    let is_at_fence =
        |(own, server): (&Option<i64>, &Server)| own.is_some_and(|own| own == fence || server.cmd(&raise) == 1);
    let granted = fences.iter().flatten().count();
    let agreed = fences.iter().zip(servers).filter(|pair| is_at_fence(*pair)).count();
    let lease = Duration::from_millis(lease_ms);
    let valid_until = begun + lease - lease / 100 - DRIFT;
    if granted.min(agreed) < majority(servers) || valid_until <= Instant::now() {
        release(servers, owner);
        return None;
    }
    Some(Held { owner, fence, valid_until })
}

/// Extends the hold at all servers. True if a majority did it.
fn extend(servers: &[Server], held: &Held) -> bool {
    let extend = args!["LOCK.EXTEND", "k", held.owner, "FENCE", held.fence];
    servers.iter().filter(|server| server.cmd(&extend) == 1).count() >= majority(servers)
}

/// Three servers without persistence. The first two granted the lock to `a`; the third could not, because another client
/// was just trying there.
fn held_by_the_first_two(lease_ms: u64) -> (Vec<Server>, Held) {
    let servers: Vec<Server> = (0..3).map(|_| Server::start()).collect();
    servers[2].cmd(&["LOCK.ACQUIRE", "k", "other"]).int();
    let a = acquire(&servers, "a", lease_ms).unwrap();
    assert_eq!(servers[2].cmd(&["LOCK.RELEASE", "k", "other"]), 1);
    (servers, a)
}

/// The server crashes, and starts again without its data and with this start quarantine.
fn lose_data(server: &Server, quarantine_ms: u64) {
    server.kill9();
    server.reconfigure(|settings| settings.config(format!("redislock.start-quarantine {quarantine_ms}")));
    server.restart();
    server.assert_no_keys();
}

/// What the start quarantine is for. The fences still tell the two apart.
#[test]
fn two_clients_hold_a_quorum_at_once_if_a_member_forgets_its_holds_and_grants_at_once() {
    let (servers, a) = held_by_the_first_two(LONG_MS);
    lose_data(&servers[1], 0);
    let b = acquire(&servers, "b", LONG_MS).expect("the second and the third server do not know of `a`");
    assert!(Instant::now() < a.valid_until, "both hold the lock");
    assert!(b.fence > a.fence, "a resource that compares fences rejects `a`");
}

#[test]
fn nobody_is_granted_beside_a_holder_by_a_member_that_lost_its_data_and_is_in_quarantine() {
    let (servers, a) = held_by_the_first_two(LONG_MS);
    lose_data(&servers[1], LONG_MS);
    for _ in 0..20 {
        assert!(acquire(&servers, "b", LONG_MS).is_none(), "only the third server grants");
    }
    assert!(!extend(&servers, &a), "one server alone that knows of `a` is no majority");
    // `a` gives up. The others make the majority without the member in quarantine.
    release(&servers, "a");
    let b = acquire(&servers, "b", LONG_MS).expect("the first and the third server are a majority");
    assert!(b.fence > a.fence);
    assert!(extend(&servers, &b));
    servers[1].assert_no_keys();
}

/// The member is as long in quarantine as the lease, and counts again after that.
#[test]
fn quarantine_as_long_as_the_lease_is_over_no_sooner_than_the_hold_that_was_forgotten() {
    const LEASE_MS: u64 = 1500;
    let (servers, a) = held_by_the_first_two(LEASE_MS);
    lose_data(&servers[1], LEASE_MS);
    // So only the second server can give `b` a majority.
    assert_eq!(servers[0].cmd(&args!["LOCK.EXTEND", "k", "a", "PX", LONG_MS]), 1);
    let b = poll(Duration::from_secs(30), || acquire(&servers, "b", LONG_MS)).expect("it counts again");
    assert!(Instant::now() >= a.valid_until, "`a` believes in its hold still");
    assert!(b.fence > a.fence);
    assert_eq!(servers[1].cmd(&["LOCK.CHECK", "k", "b"]).array()[0], b.fence);
}

/// Without a majority that may grant, nobody gets the lock. Holds that a majority still has go on.
#[test]
fn holder_goes_on_while_members_that_kept_their_data_are_in_quarantine() {
    let servers: Vec<Server> = (0..3).map(|_| Server::builder().aof().start()).collect();
    let a = acquire(&servers, "a", LONG_MS).unwrap();
    for server in &servers[..2] {
        server.reconfigure(|settings| settings.config(format!("redislock.start-quarantine {LONG_MS}")));
        server.kill9();
        server.restart();
    }
    assert!(extend(&servers, &a));
    assert_eq!(servers.iter().filter(|server| server.cmd(&["LOCK.RELEASE", "k", "a"]) == 1).count(), 3);
    assert!(acquire(&servers, "b", LONG_MS).is_none());
    for server in &servers[..2] {
        assert_eq!(server.cmd(&["CONFIG", "SET", "redislock.start-quarantine", "0"]), "OK");
    }
    let b = acquire(&servers, "b", LONG_MS).expect("operators may end the quarantine");
    assert!(b.fence > a.fence);
}
