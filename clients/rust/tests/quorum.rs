//! Locks that most of several independent servers agree on.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod independent;
mod relay;

use std::time::{Duration, Instant};

use independent::{of_ports, quorum, servers, with_clocks};
use redis_lock_client::{Error, Locks, Request};
use relay::Relay;
use support::{until, Server, Value};
use tokio::time::timeout;

/// Longer than any test.
const LONG: Duration = Duration::from_secs(60);
const SOON: Duration = Duration::from_secs(20);

fn k(servers: &[Server]) -> Request {
    quorum(servers).key("k").lease(LONG)
}

/// On how many of the servers that owner stands at that fence.
fn standing(servers: &[Server], owner: &str, fence: u64) -> usize {
    let stands = |server: &&Server| match server.cmd(&["LOCK.CHECK", "k", owner]) {
        Value::NullBulk => false,
        answer => answer.array()[0].int().unsigned_abs() == fence,
    };
    servers.iter().filter(stands).count()
}

/// The server's next fence is larger than what others give that started at the same time.
fn put_ahead(server: &Server) {
    let fence = server.cmd(&["LOCK.ACQUIRE", "other", "a"]).int() + 1000;
    // A server that has just started is as far ahead of its clock as it may be.
    until("its clock has come on", || server.cmd(&["LOCK.EXTEND", "other", "a", "RAISE", &fence.to_string()]) == 1);
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
async fn all_servers_stand_at_one_fence_and_are_freed_by_the_release() {
    let servers = servers(3);
    put_ahead(&servers[1]);
    let guard = k(&servers).acquire(SOON).await.unwrap();
    assert_eq!(standing(&servers, guard.owner(), guard.fence()), 3);
    assert!(matches!(k(&servers).try_acquire().await, Err(Error::NotAcquired)));
    // A hundredth of the lease and 2 ms, by which clocks may run apart, are not counted on.
    let drift = LONG / 100 + Duration::from_millis(2);
    assert!(guard.held_until().unwrap() <= Instant::now() + LONG - drift);
    assert!(guard.extend().await.unwrap() <= Instant::now() + LONG - drift);
    guard.release().await.unwrap();
    assert!(servers.iter().all(|server| server.cmd(&["LOCK.INFO", "k"]) == Value::NullBulk));
}

#[tokio::test(flavor = "multi_thread")]
async fn minority_may_be_gone_or_silent_and_a_majority_may_not() {
    let servers = servers(3);
    servers[0].kill9();
    let first = k(&servers).acquire(SOON).await.unwrap();
    let fence = first.fence();
    first.release().await.unwrap();
    servers[0].restart();
    servers[1].sigstop();
    let second = k(&servers).acquire(SOON).await.unwrap();
    assert!(second.fence() > fence);
    servers[2].kill9();
    assert!(matches!(k(&servers).try_acquire().await, Err(Error::NoQuorum)));
    servers[1].sigcont();
    servers[2].restart();
}

#[tokio::test(flavor = "multi_thread")]
async fn hold_is_renewed_by_most_and_lost_with_most() {
    let servers = servers(3);
    let lease = Duration::from_millis(1500);
    let guard = k(&servers).lease(lease).acquire(SOON).await.unwrap();
    servers[0].cmd(&["DEL", "k"]);
    let until_first = guard.held_until().unwrap();
    until("it is renewed by the two others", || guard.held_until().is_some_and(|until| until > until_first));
    servers[1].cmd(&["DEL", "k"]);
    timeout(SOON, guard.lost()).await.expect("told by the next renewal");
    assert!(matches!(guard.release().await, Err(Error::NotHeld)));
}

/// One that still says yes is no majority.
#[tokio::test(flavor = "multi_thread")]
async fn hold_is_lost_in_time_when_most_are_silent() {
    let servers = servers(3);
    let guard = k(&servers).lease(Duration::from_secs(3)).acquire(SOON).await.unwrap();
    for server in &servers[1..] {
        server.sigstop();
    }
    let sure = guard.held_until().unwrap();
    assert!(matches!(guard.extend().await, Err(Error::NoQuorum)));
    timeout(SOON, guard.lost()).await.expect("told by the end of its lease");
    assert!(Instant::now() >= sure, "not before");
    for server in &servers[1..] {
        server.sigcont();
    }
}

/// The answer to a request, to a raise, to an extension, to a release is lost: it is sent again and nobody is the wiser.
#[tokio::test(flavor = "multi_thread")]
async fn lost_answers_cost_nothing() {
    let servers = servers(3);
    for word in ["LOCK.ACQUIRE", "RAISE", "FENCE", "LOCK.RELEASE"] {
        // The others have to be raised to its fences.
        put_ahead(&servers[2]);
        let relays = [Relay::to(servers[0].port()), Relay::to(servers[1].port())];
        let request = of_ports([relays[0].port(), relays[1].port(), servers[2].port()]).key("k").lease(LONG);
        for relay in &relays {
            relay.swallow_one_answer_to(word);
        }
        let guard = request.acquire(SOON).await.unwrap();
        // One that was slow to be asked again follows with an extension.
        let all_follow = async {
            while standing(&servers, guard.owner(), guard.fence()) < 3 || word == "FENCE" && relays[0].swallowed() == 0
            {
                guard.extend().await.unwrap();
            }
        };
        timeout(SOON, all_follow).await.unwrap_or_else(|_| panic!("not all follow: {word}"));
        guard.release().await.unwrap();
        assert_eq!(relays.map(|relay| relay.swallowed()), [1, 1], "{word}");
        until("all are free", || servers.iter().all(|server| server.cmd(&["LOCK.INFO", "k"]) == Value::NullBulk));
    }
}

/// The lease may have begun as soon as it was asked for, however late the answer.
#[tokio::test(flavor = "multi_thread")]
async fn hold_is_reckoned_from_before_it_was_asked_for() {
    let servers = servers(3);
    let relays = [Relay::to(servers[0].port()), Relay::to(servers[1].port())];
    let request = of_ports([relays[0].port(), relays[1].port(), servers[2].port()]).key("k").lease(LONG);
    loop {
        for relay in &relays {
            relay.keep_back_one("LOCK.ACQUIRE");
        }
        let request = request.clone();
        let asks = tokio::spawn(async move { request.try_acquire().await });
        until("it is asked for", || relays.iter().all(|relay| relay.kept_back() == 1));
        let asked = Instant::now();
        tokio::time::sleep(Duration::from_millis(100)).await;
        for relay in &relays {
            relay.let_go();
        }
        match timeout(SOON, asks).await.unwrap().unwrap() {
            Ok(guard) => {
                assert!(guard.held_until().unwrap() <= asked + LONG - LONG / 100);
                break;
            }
            // A server has half a second to answer, which is over on a busy machine.
            Err(Error::NoQuorum) => {}
            Err(other) => panic!("{other:?}"),
        }
    }
}

/// The servers tell by themselves, long before the next renewal.
#[tokio::test(flavor = "multi_thread")]
async fn holder_is_told_at_once_when_most_have_lost_its_hold() {
    let servers = servers(3);
    let guard = k(&servers).acquire(SOON).await.unwrap();
    until("all watch", || servers.iter().all(|server| server.info_number("stats", "tracking_total_keys") == 1));
    let extensions = || servers[2].info_number("redislock", "redislock_extensions");
    let before = extensions();
    servers[0].cmd(&["DEL", "k"]);
    until("it is renewed at the others", || extensions() > before);
    assert!(guard.held_until().is_some());
    servers[1].cmd(&["DEL", "k"]);
    timeout(SOON / 2, guard.lost()).await.expect("told before a third of the lease is over");
}

/// What is wrong with a request is told, and it is not sent again and again.
#[tokio::test(flavor = "multi_thread")]
async fn error_that_most_servers_tell_is_told() {
    let servers = servers(3);
    for server in &servers[1..] {
        server.cmd(&["SET", "k", "x"]);
    }
    match timeout(SOON, k(&servers).acquire(Duration::MAX)).await.unwrap().map(|_| ()) {
        Err(Error::Server(error)) => assert_eq!(error.code(), Some("WRONGTYPE")),
        other => panic!("{other:?}"),
    }
    assert_eq!(servers[0].cmd(&["LOCK.INFO", "k"]), Value::NullBulk);
}

/// Clients that reach two of three servers each, every one another two: each server sees two of them, and there are three.
#[tokio::test(flavor = "multi_thread")]
async fn limit_is_kept_by_clients_that_reach_different_majorities() {
    for (limit, get_in) in [(1, 1), (2, 1), (3, 3), (4, 3)] {
        let servers = servers(3);
        let mut guards = Vec::new();
        for away in 0..3 {
            let user = format!("without{away}");
            for (n, server) in servers.iter().enumerate() {
                let commands = if n == away { "-@all" } else { "+@all" };
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
        assert_eq!(guards.len(), get_in, "of three clients with limit {limit}");
    }
}

/// Servers leap over 60 s of fences when they start, and follow one another up to 60 s ahead of their own clock. So one that
/// has just started is followed by those behind it once it has been up for as long as their clocks differ.
#[tokio::test(flavor = "multi_thread")]
async fn servers_with_clocks_apart_agree_after_as_long_as_they_differ() {
    let Some(servers) = with_clocks([0, 3, 6]) else { return };
    let mut fence = 0;
    for stopped in [None, Some(0), Some(1), Some(2), None] {
        if let Some(n) = stopped {
            servers[n].sigstop();
        }
        let guard = k(&servers).acquire(SOON).await.unwrap();
        assert!(guard.fence() > fence, "without {stopped:?}");
        fence = guard.fence();
        guard.release().await.unwrap();
        if let Some(n) = stopped {
            servers[n].sigcont();
        }
    }
}

/// One whose clock is more than a minute ahead is never followed: the others agree without it, or nobody gets in.
#[tokio::test(flavor = "multi_thread")]
async fn server_an_hour_ahead_counts_for_nothing() {
    let Some(servers) = with_clocks([0, 0, 3600]) else { return };
    let first = k(&servers).acquire(SOON).await.unwrap();
    let fence = first.fence();
    assert_eq!(standing(&servers[..2], first.owner(), fence), 2);
    first.release().await.unwrap();
    servers[0].sigstop();
    match k(&servers).acquire(Duration::from_millis(500)).await.map(|guard| guard.fence()) {
        Err(Error::NoQuorum) => {}
        other => panic!("{other:?}, and {fence} before"),
    }
    servers[0].sigcont();
    assert!(k(&servers).acquire(SOON).await.unwrap().fence() > fence);
}

/// A request that got a minority only, or was dropped, leaves nothing behind.
#[tokio::test(flavor = "multi_thread")]
async fn failed_and_dropped_requests_leave_nothing_behind() {
    let servers = servers(3);
    for server in &servers[..2] {
        server.cmd(&["LOCK.ACQUIRE", "k", "somebody", "PX", "600000"]);
    }
    assert!(matches!(k(&servers).try_acquire().await, Err(Error::NotAcquired)));
    assert_eq!(servers[2].cmd(&["LOCK.INFO", "k"]), Value::NullBulk);

    let request = k(&servers);
    let asks = tokio::spawn(async move { request.acquire(LONG).await.map(|_| ()) });
    until("it asks", || servers[2].info_number("redislock", "redislock_grants_at_once") > 3);
    asks.abort();
    assert!(asks.await.unwrap_err().is_cancelled());
    until("its last hold is released", || servers[2].cmd(&["LOCK.INFO", "k"]) == Value::NullBulk);
}
