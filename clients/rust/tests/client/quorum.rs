//! Locks of a quorum: a majority of independent servers must grant them.

use std::time::{Duration, Instant};

use crate::common::quorum::{quorum, quorum_on_ports, start_servers, start_servers_with_clocks};
use crate::common::relay::Relay;
use crate::common::{code, ends_at, is_free, LONG};
use redis_lock_client::{Error, Locks, Request};
use support::{until, Server, Value};
use tokio::time::timeout;

/// The time limit of what should happen at once, on a busy machine.
const SOON: Duration = Duration::from_secs(20);
/// How exactly a moment can be compared that was reckoned by two clocks.
const TICK: Duration = Duration::from_millis(5);

/// A request for the lock `k` with a lease longer than any test.
fn request(servers: &[Server]) -> Request {
    quorum(servers).key("k").lease(LONG)
}

/// The number of servers at which this owner has this fence.
fn servers_at_fence(servers: &[Server], owner: &str, fence: u64) -> usize {
    let has_fence = |server: &&Server| match server.cmd(&["LOCK.CHECK", "k", owner]) {
        Value::NullBulk => false,
        reply => reply.array()[0].int().unsigned_abs() == fence,
    };
    servers.iter().filter(has_fence).count()
}

/// Makes the next fence of this server larger than those of other servers that started at the same time.
fn advance_fences(server: &Server) {
    let fence = server.cmd(&["LOCK.ACQUIRE", "other", "a"]).int() + 1000;
    // The fences of a server that has just started are as far ahead of its clock as they can be.
    until("its clock has advanced", || server.cmd(&["LOCK.EXTEND", "other", "a", "RAISE", &fence.to_string()]) == 1);
    assert_eq!(server.cmd(&["LOCK.RELEASE", "other", "a"]), 1);
}

#[test]
fn quorum_needs_an_odd_number_of_servers_from_three_on() {
    for urls in [vec![], vec!["redis://a"], vec!["redis://a"; 2], vec!["redis://a"; 4]] {
        assert!(matches!(Locks::quorum(urls), Err(Error::Invalid(_))));
    }
    assert!(matches!(Locks::quorum(["redis://a", "redis://b", "redis://a/1"]), Err(Error::Invalid(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn all_servers_have_the_same_fence_and_are_free_after_the_release() {
    let servers = start_servers(3);
    advance_fences(&servers[1]);
    let guard = request(&servers).acquire(SOON).await.unwrap();
    assert_eq!(servers_at_fence(&servers, guard.owner(), guard.fence()), 3);
    assert!(matches!(request(&servers).try_acquire().await, Err(Error::NotAcquired)));
    // A hundredth of the lease and 2 ms are taken off, because clocks may drift apart.
    let drift = LONG / 100 + Duration::from_millis(2);
    assert!(guard.remaining() <= LONG - drift);
    assert!(guard.extend().await.unwrap() <= LONG - drift);
    guard.release().await.unwrap();
    assert!(servers.iter().all(is_free));
}

#[tokio::test(flavor = "multi_thread")]
async fn quorum_survives_a_dead_or_silent_minority_but_not_a_majority() {
    let servers = start_servers(3);
    servers[0].kill9();
    let first = request(&servers).acquire(SOON).await.unwrap();
    let fence = first.fence();
    first.release().await.unwrap();
    servers[0].restart();
    servers[1].sigstop();
    let second = request(&servers).acquire(SOON).await.unwrap();
    assert!(second.fence() > fence);
    servers[2].kill9();
    assert!(matches!(request(&servers).try_acquire().await, Err(Error::NoQuorum)));
    servers[1].sigcont();
    servers[2].restart();
}

#[tokio::test(flavor = "multi_thread")]
async fn hold_is_renewed_by_a_majority_and_lost_with_a_majority() {
    let servers = start_servers(3);
    let lease = Duration::from_millis(1500);
    let guard = request(&servers).lease(lease).acquire(SOON).await.unwrap();
    servers[0].cmd(&["DEL", "k"]);
    let until_first = ends_at(&guard);
    until("the hold is renewed by the two others", || ends_at(&guard) > until_first + TICK);
    // The first server has the hold again, so both of the others must lose it.
    servers[1].cmd(&["DEL", "k"]);
    servers[2].cmd(&["DEL", "k"]);
    timeout(SOON, guard.lost()).await.expect("reported by the next renewal");
    assert!(matches!(guard.release().await, Err(Error::NotHeld)));
}

/// One server that still extends the hold is no majority.
#[tokio::test(flavor = "multi_thread")]
async fn hold_is_lost_in_time_when_a_majority_is_silent() {
    let servers = start_servers(3);
    let guard = request(&servers).lease(Duration::from_secs(3)).acquire(SOON).await.unwrap();
    for server in &servers[1..] {
        server.sigstop();
    }
    let held_until = ends_at(&guard) - TICK;
    assert!(matches!(guard.extend().await, Err(Error::NoQuorum)));
    timeout(SOON, guard.lost()).await.expect("reported by the end of the lease");
    assert!(Instant::now() >= held_until, "not before");
    for server in &servers[1..] {
        server.sigcont();
    }
}

/// The reply to a request, a raise, an extension or a release is lost. The client sends the command again.
#[tokio::test(flavor = "multi_thread")]
async fn lost_replies_are_retried_without_harm() {
    let servers = start_servers(3);
    for word in ["LOCK.ACQUIRE", "RAISE", "FENCE", "LOCK.RELEASE"] {
        // The client must raise the fences of the others to that of this server.
        advance_fences(&servers[2]);
        let relays = [Relay::start(servers[0].port()), Relay::start(servers[1].port())];
        let request = quorum_on_ports([relays[0].port(), relays[1].port(), servers[2].port()]).key("k").lease(LONG);
        for relay in &relays {
            relay.drop_next_reply_to(word);
        }
        let guard = request.acquire(SOON).await.unwrap();
        // A server that the client reached late gets the fence with an extension.
        let all_have_the_fence = async {
            while servers_at_fence(&servers, guard.owner(), guard.fence()) < 3
                || word == "FENCE" && relays[0].dropped_replies() == 0
            {
                guard.extend().await.unwrap();
            }
        };
        timeout(SOON, all_have_the_fence).await.unwrap_or_else(|_| panic!("not all have the fence: {word}"));
        guard.release().await.unwrap();
        assert_eq!(relays.map(|relay| relay.dropped_replies()), [1, 1], "{word}");
        until("all are free", || servers.iter().all(is_free));
    }
}

/// The lease may have begun as soon as the request was sent, however late the reply.
#[tokio::test(flavor = "multi_thread")]
async fn validity_is_reckoned_from_before_the_request_was_sent() {
    let servers = start_servers(3);
    let relays = [Relay::start(servers[0].port()), Relay::start(servers[1].port())];
    let request = quorum_on_ports([relays[0].port(), relays[1].port(), servers[2].port()]).key("k").lease(LONG);
    loop {
        for relay in &relays {
            relay.delay_next("LOCK.ACQUIRE");
        }
        let request = request.clone();
        let acquiring = tokio::spawn(async move { request.try_acquire().await });
        until("the request is sent", || relays.iter().all(|relay| relay.delayed_requests() == 1));
        let sent_at = Instant::now();
        tokio::time::sleep(Duration::from_millis(100)).await;
        for relay in &relays {
            relay.send_delayed();
        }
        match timeout(SOON, acquiring).await.unwrap().unwrap() {
            Ok(guard) => {
                assert!(ends_at(&guard) <= sent_at + LONG - LONG / 100 + TICK);
                break;
            }
            // On a busy machine a server can miss its time limit of half a second.
            Err(Error::NoQuorum) => {}
            Err(other) => panic!("{other:?}"),
        }
    }
}

/// The servers report the change long before the next renewal.
#[tokio::test(flavor = "multi_thread")]
async fn loss_is_reported_at_once_when_a_majority_has_lost_the_hold() {
    let servers = start_servers(3);
    let guard = request(&servers).acquire(SOON).await.unwrap();
    until("all servers track the key", || {
        servers.iter().all(|server| server.info_number("stats", "tracking_total_keys") == 1)
    });
    let checks = || servers[2].info_number("stats", "tracking_total_keys");
    servers[0].cmd(&["DEL", "k"]);
    until("the hold is looked at", || checks() == 1);
    assert!(guard.is_held());
    servers[1].cmd(&["DEL", "k"]);
    timeout(SOON / 2, guard.lost()).await.expect("reported before a third of the lease has passed");
}

/// The client reports the error and does not send the request again.
#[tokio::test(flavor = "multi_thread")]
async fn error_reply_of_a_majority_is_reported() {
    let servers = start_servers(3);
    for server in &servers[1..] {
        server.cmd(&["SET", "k", "x"]);
    }
    assert_eq!(code(timeout(SOON, request(&servers).acquire(Duration::MAX)).await.unwrap()), "WRONGTYPE");
    assert!(is_free(&servers[0]));
}

/// A server in its start quarantine counts as one that did not grant, and holds up nobody.
#[tokio::test(flavor = "multi_thread")]
async fn server_in_its_start_quarantine_does_not_count() {
    let servers = start_servers(3);
    let set = |server: &Server, ms: &str| server.cmd(&["CONFIG", "SET", "redislock.start-quarantine", ms]);
    assert_eq!(set(&servers[0], "600000"), "OK");
    let guard = request(&servers).acquire(SOON).await.unwrap();
    assert_eq!(servers_at_fence(&servers, guard.owner(), guard.fence()), 2);
    guard.release().await.unwrap();

    assert_eq!(set(&servers[1], "600000"), "OK");
    assert_eq!(code(request(&servers).try_acquire().await), "TRYAGAIN");
    let request = request(&servers);
    let acquiring = tokio::spawn(async move { request.acquire(LONG).await });
    until("the client has tried more than once", || {
        servers[2].info_number("redislock", "redislock_grants_at_once") > 3
    });
    assert_eq!(set(&servers[1], "0"), "OK");
    let guard = timeout(SOON, acquiring).await.unwrap().unwrap().unwrap();
    assert_eq!(servers_at_fence(&servers, guard.owner(), guard.fence()), 2);
    guard.release().await.unwrap();
}

/// Each of three clients reaches another two of three servers. So each server sees only two of the three clients.
#[tokio::test(flavor = "multi_thread")]
async fn limit_holds_for_clients_that_reach_different_majorities() {
    for (limit, expected) in [(1, 1), (2, 1), (3, 3), (4, 3)] {
        let servers = start_servers(3);
        let mut guards = Vec::new();
        for unreachable in 0..3 {
            let user = format!("without{unreachable}");
            for (n, server) in servers.iter().enumerate() {
                let commands = if n == unreachable { "-@all" } else { "+@all" };
                server.cmd(&["ACL", "SETUSER", &user, "on", ">word", "~*", commands]);
            }
            let urls = servers.iter().map(|server| format!("redis://{user}:word@127.0.0.1:{}", server.port()));
            let urls: Vec<String> = urls.collect();
            let quorum = Locks::quorum(urls.iter().map(String::as_str)).unwrap();
            match quorum.key("k").lease(LONG).counted(limit).acquire(Duration::from_millis(300)).await {
                Ok(guard) => guards.push(guard),
                Err(Error::NotAcquired) => {}
                Err(other) => panic!("{other:?}"),
            }
        }
        assert_eq!(guards.len(), expected, "of three clients with limit {limit}");
    }
}

/// A server skips 60 s of fences when it starts, and accepts fences of others up to 60 s ahead of its own clock. So
/// other servers accept the fences of a server that has just started once it has run for as long as its clock is ahead
/// of theirs.
#[tokio::test(flavor = "multi_thread")]
async fn servers_agree_after_running_for_as_long_as_their_clocks_differ() {
    let Some(servers) = start_servers_with_clocks([0, 3, 6]) else { return };
    let mut fence = 0;
    for stopped in [None, Some(0), Some(1), Some(2), None] {
        if let Some(n) = stopped {
            servers[n].sigstop();
        }
        let guard = request(&servers).acquire(SOON).await.unwrap();
        assert!(guard.fence() > fence, "without {stopped:?}");
        fence = guard.fence();
        guard.release().await.unwrap();
        if let Some(n) = stopped {
            servers[n].sigcont();
        }
    }
}

/// No server accepts fences that are more than a minute ahead. So the others agree without that server, or nobody gets
/// the lock.
#[tokio::test(flavor = "multi_thread")]
async fn server_whose_clock_is_an_hour_ahead_does_not_count() {
    let Some(servers) = start_servers_with_clocks([0, 0, 3600]) else { return };
    let first = request(&servers).acquire(SOON).await.unwrap();
    let fence = first.fence();
    assert_eq!(servers_at_fence(&servers[..2], first.owner(), fence), 2);
    first.release().await.unwrap();
    servers[0].sigstop();
    match request(&servers).acquire(Duration::from_millis(500)).await.map(|guard| guard.fence()) {
        Err(Error::NoQuorum) => {}
        other => panic!("{other:?}, and {fence} before"),
    }
    servers[0].sigcont();
    assert!(request(&servers).acquire(SOON).await.unwrap().fence() > fence);
}

/// A request that got only a minority, or was dropped, leaves nothing behind.
#[tokio::test(flavor = "multi_thread")]
async fn failed_and_dropped_requests_leave_nothing_behind() {
    let servers = start_servers(3);
    for server in &servers[..2] {
        server.cmd(&["LOCK.ACQUIRE", "k", "somebody", "PX", "600000"]);
    }
    assert!(matches!(request(&servers).try_acquire().await, Err(Error::NotAcquired)));
    assert!(is_free(&servers[2]));

    let request = request(&servers);
    let acquiring = tokio::spawn(async move { request.acquire(LONG).await.map(|_| ()) });
    until("the client tries again", || servers[2].info_number("redislock", "redislock_grants_at_once") > 3);
    acquiring.abort();
    assert!(acquiring.await.unwrap_err().is_cancelled());
    until("its last hold is released", || is_free(&servers[2]));
}

/// Grants that so many clients get together in this time, one after the other.
async fn grants_of(clients: usize, servers: &[Server], time: Duration) -> u64 {
    let clients: Vec<Locks> = (0..clients).map(|_| quorum(servers)).collect();
    for locks in &clients {
        locks.key("warm").acquire(LONG).await.unwrap().release().await.unwrap();
    }
    let tasks = clients.iter().map(|locks| {
        let request = locks.key("k").lease(Duration::from_secs(10));
        tokio::spawn(async move {
            loop {
                let guard = request.acquire(LONG).await.unwrap();
                guard.release().await.unwrap();
            }
        })
    });
    let tasks: Vec<tokio::task::JoinHandle<()>> = tasks.collect();
    let grants = || clients.iter().map(|locks| locks.stats().acquired).sum::<u64>();
    // Let all of them find their places.
    tokio::time::sleep(time / 2).await;
    let before = grants();
    tokio::time::sleep(time).await;
    let grants = grants() - before;
    for task in &tasks {
        task.abort();
    }
    until("all are free", || servers.iter().all(is_free));
    grants
}

/// Requests queue at one member before they ask the others, so that many clients do not split the votes. If they did,
/// fifty clients would get a small part of it each time. The machine may have other work in one of the measurements.
#[tokio::test(flavor = "multi_thread")]
async fn fifty_clients_get_at_least_half_the_grants_of_five() {
    let servers = start_servers(3);
    let mut seen = Vec::new();
    for _ in 0..4 {
        let of_five = grants_of(5, &servers, Duration::from_secs(1)).await;
        let of_fifty = grants_of(50, &servers, Duration::from_secs(1)).await;
        seen.push((of_five, of_fifty));
        if of_five > 0 && of_fifty * 2 >= of_five {
            return;
        }
    }
    panic!("grants of 5 and of 50 clients: {seen:?}");
}

/// A member that restarted empty gets the hold again under the same owner. Its fence may be larger, because a server
/// skips fences when it starts. Then another member may fail.
#[tokio::test(flavor = "multi_thread")]
async fn member_that_came_back_empty_gets_the_hold_again() {
    let servers = start_servers(3);
    let guard = request(&servers).lease(Duration::from_secs(3)).acquire(SOON).await.unwrap();
    servers[0].kill9();
    servers[0].restart();
    let has_hold = || crate::common::ttl(&servers[0], guard.owner()).is_some();
    until("the member has the hold again", has_hold);
    servers[1].kill9();
    let renewed = ends_at(&guard) + Duration::from_millis(500);
    until("the hold is renewed by the other two", || ends_at(&guard) > renewed);
    guard.release().await.unwrap();
    assert!(is_free(&servers[0]) && is_free(&servers[2]));
    servers[1].restart();
}
