//! Locks that go on at another server: Sentinel and Redis Cluster.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::time::Duration;

use redis_lock_client::{Error, Locks};
use support::{until, Cluster, Server, Watched, PRIMARY};
use tokio::time::timeout;

/// Longer than any test.
const LONG: Duration = Duration::from_secs(120);
/// A failover on a busy machine.
const SOON: Duration = Duration::from_secs(40);

fn waiters(server: &Server) -> i64 {
    server.info_number("redislock", "redislock_waiters")
}

/// The hold is in the replica, the waiter asks the promoted one again, and is granted there with a larger fence.
#[tokio::test(flavor = "multi_thread")]
async fn waiter_follows_the_sentinels_to_the_new_primary() {
    let watched = Watched::start(2);
    let urls = watched.urls();
    let locks = Locks::sentinel(urls.iter().map(String::as_str), PRIMARY).unwrap();
    let held = locks.key("k").lease(LONG).acquire(SOON).await.unwrap();
    assert_eq!(watched.server(0).cmd(&["WAIT", "2", "10000"]), 2);
    let request = locks.key("k").lease(LONG);
    let waits = tokio::spawn(async move { request.acquire(LONG).await });
    until("it waits", || waiters(watched.server(0)) == 1);

    watched.server(0).kill9();
    let new = watched.until_failover(0);
    until("it waits at the new primary", || waiters(watched.server(new)) == 1);
    assert!(held.held_until().is_some());
    let fence = held.fence();
    held.release().await.unwrap();
    let next = timeout(SOON, waits).await.unwrap().unwrap().unwrap();
    assert!(next.fence() > fence + 1_000_000, "the promoted server leapt over what it may not know");
    next.release().await.unwrap();
}

/// A primary that stands still is replaced; the hold it gave is renewed at the new one.
#[tokio::test(flavor = "multi_thread")]
async fn hold_is_renewed_at_the_new_primary_when_the_old_one_stands_still() {
    let watched = Watched::start(1);
    let urls = watched.urls();
    let locks = Locks::sentinel(urls.iter().map(String::as_str), PRIMARY).unwrap();
    let held = locks.key("k").lease(Duration::from_secs(12)).acquire(SOON).await.unwrap();
    assert_eq!(watched.server(0).cmd(&["WAIT", "1", "10000"]), 1);
    watched.server(0).sigstop();
    let new = watched.until_failover(0);
    let renewed = || watched.server(new).info_number("redislock", "redislock_extensions") > 0;
    let until_renewed = async {
        while !renewed() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(SOON, until_renewed).await.expect("renewed at the new primary");
    assert!(held.held_until().is_some());
    held.release().await.unwrap();
    watched.server(0).sigcont();
    watched.until_whole();
}

#[tokio::test(flavor = "multi_thread")]
async fn waiter_in_a_cluster_follows_a_slot_that_moves_and_a_replica_that_takes_over() {
    let cluster = Cluster::start(3, 1);
    let (from, key) = (cluster.first_home("k"), "k");
    let to = (from + 1) % 3;
    // It starts at a node that has not the slot.
    let seed = format!("redis://127.0.0.1:{}", cluster.node(to).port());
    let locks = Locks::cluster([seed.as_str()]).unwrap();
    let held = locks.key(key).lease(LONG).acquire(SOON).await.unwrap();
    // Who asked for one server is told, and not kept waiting.
    match timeout(SOON, Locks::server(&seed).unwrap().key(key).acquire(LONG)).await.unwrap().map(|_| ()) {
        Err(Error::Server(error)) => assert_eq!(error.code(), Some("MOVED")),
        other => panic!("{other:?}"),
    }
    let request = locks.key(key).lease(LONG);
    let waits = tokio::spawn(async move { request.acquire(LONG).await });
    until("it waits", || waiters(cluster.node(from)) == 1);

    cluster.begin_move(key, from, to);
    assert_eq!(cluster.migrate(key, from, to), "OK");
    cluster.end_move(key, from, to);
    until("it waits where the slot is now", || waiters(cluster.node(to)) == 1);

    assert_eq!(cluster.node(to).cmd(&["WAIT", "1", "10000"]), 1);
    cluster.node(to).kill9();
    cluster.until_promoted(to + 3);
    until("it waits at what was the replica", || waiters(cluster.node(to + 3)) == 1);
    let fence = held.fence();
    held.release().await.unwrap();
    let next = timeout(SOON, waits).await.unwrap().unwrap().unwrap();
    assert!(next.fence() > fence);
    next.release().await.unwrap();
}
