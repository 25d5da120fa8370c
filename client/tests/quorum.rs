//! Locks that most of several independent servers agree on.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use redis_lock_client::{Error, Locks, Quorum, Request};
use support::{judge, until, Grant, Server, Value};
use tokio::time::timeout;

/// Longer than any test.
const LONG: Duration = Duration::from_secs(60);
const SOON: Duration = Duration::from_secs(20);

fn servers(count: usize) -> Vec<Server> {
    (0..count).map(|_| Server::start()).collect()
}

fn quorum(servers: &[Server]) -> Quorum {
    let urls: Vec<String> = servers.iter().map(|server| format!("redis://127.0.0.1:{}", server.port())).collect();
    Quorum::servers(urls.iter().map(String::as_str)).unwrap()
}

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

#[test]
fn quorum_needs_an_odd_number_of_servers_from_three_on() {
    for urls in [vec![], vec!["redis://a"], vec!["redis://a"; 2], vec!["redis://a"; 4]] {
        assert!(matches!(Quorum::servers(urls), Err(Error::Invalid(_))));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_servers_stand_at_one_fence_and_are_freed_by_the_release() {
    let servers = servers(3);
    // Their clocks of fences differ.
    servers[1].cmd(&["LOCK.ACQUIRE", "other", "a"]);
    let ahead = servers[1].cmd(&["LOCK.CHECK", "other", "a"]).array()[0].int() + 1000;
    assert_eq!(servers[1].cmd(&["LOCK.EXTEND", "other", "a", "RAISE", &ahead.to_string()]), 1);

    let guard = k(&servers).acquire(SOON).await.unwrap();
    assert!(guard.fence() > ahead.unsigned_abs());
    assert_eq!(standing(&servers, guard.owner(), guard.fence()), 3);
    assert!(matches!(k(&servers).try_acquire().await, Err(Error::NotAcquired)));
    assert!(guard.held_until().unwrap() < Instant::now() + LONG);
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

/// Servers with clocks that are off by so many seconds; `None` (and said so) where the module does not see it.
fn with_clocks(offsets: [i64; 3]) -> Option<[Server; 3]> {
    let servers = offsets.map(|seconds| Server::builder().clock_off_by(seconds).start());
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs().cast_signed();
    for (server, offset) in servers.iter().zip(offsets) {
        // A server that has just started gives fences that are its clock's microseconds and 60 s more.
        let ahead = server.cmd(&["LOCK.ACQUIRE", "probe", "a", "PX", "1"]).int() / 1_000_000 - 60 - now;
        if (ahead - offset).abs() > 30.min(1 + offset.abs() / 2) {
            support::skip("this server binds modules to the C library before what is preloaded (RTLD_DEEPBIND)");
            return None;
        }
    }
    Some(servers)
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

/// Clients that take the lock again and again while servers are killed, come back empty after the longest lease, and are
/// stopped: nobody holds it twice, and fences rise.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn fences_rise_and_nobody_holds_twice_while_servers_fail() {
    let lease = Duration::from_millis(1000);
    let servers = Arc::new(servers(5));
    let is_over = Arc::new(AtomicBool::new(false));
    let history = Arc::new(Mutex::new(Vec::new()));
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let (is_over, history) = (Arc::clone(&is_over), Arc::clone(&history));
            // A client each: they share no connection.
            let request = k(&servers).lease(lease);
            tokio::spawn(async move {
                while !is_over.load(Ordering::Relaxed) {
                    let called = Instant::now();
                    let Ok(guard) = request.acquire(SOON).await else { continue };
                    let granted = Instant::now();
                    tokio::time::sleep(Duration::from_millis(rand::random_range(0..20))).await;
                    let ended = guard.held_until().map_or(granted, |until| until.min(Instant::now()));
                    history.lock().unwrap().push(Grant { called, granted, server: 0, fence: guard.fence(), ended });
                    let _ = guard.release().await;
                }
            })
        })
        .collect();

    let grants = || history.lock().unwrap().len();
    for round in 0..3 {
        let (killed, stopped) = (round % 5, (round + 1) % 5);
        let go_on = |what: &str| {
            let before = grants();
            until(format!("grants go on: {what}"), || grants() > before + 5);
        };
        servers[stopped].sigstop();
        go_on("one is stopped");
        servers[killed].kill9();
        go_on("and one killed");
        servers[stopped].sigcont();
        go_on("the one goes on");
        // It comes back with nothing: so it stays out for the longest lease.
        tokio::time::sleep(lease).await;
        servers[killed].restart();
        go_on("the other is back");
    }
    is_over.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.unwrap();
    }
    let history = history.lock().unwrap().clone();
    println!("{} grants", history.len());
    let judgement = judge(history, &[0]);
    assert_eq!(judgement.faults, Vec::<String>::new());
}
