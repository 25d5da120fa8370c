//! Waits and holds that go on at another server, with Sentinel and with Redis Cluster.

use std::time::Duration;

use crate::common::{code, waiters};
use redis_lock_client::Locks;
use support::{until, Cluster, Watched, PRIMARY};
use tokio::time::timeout;

/// Longer than any test.
const LONG: Duration = Duration::from_secs(120);
/// The time limit of a failover on a busy machine.
const SOON: Duration = Duration::from_secs(40);

/// The replica has the hold. The waiter asks the promoted replica, and its grant there has a larger fence.
#[tokio::test(flavor = "multi_thread")]
async fn waiter_follows_the_sentinels_to_the_new_primary() {
    let watched = Watched::start(2);
    let urls = watched.urls();
    let locks = Locks::sentinel(urls.iter().map(String::as_str), PRIMARY).unwrap();
    let held = locks.key("k").lease(LONG).acquire(SOON).await.unwrap();
    assert_eq!(watched.server(0).cmd(&["WAIT", "2", "10000"]), 2);
    let request = locks.key("k").lease(LONG);
    let waiter = tokio::spawn(async move { request.acquire(LONG).await });
    until("the client waits", || waiters(watched.server(0)) == 1);

    watched.server(0).kill9();
    let new = watched.until_failover(0);
    until("the client waits at the new primary", || waiters(watched.server(new)) == 1);
    assert!(held.is_held());
    let fence = held.fence();
    held.release().await.unwrap();
    let next = timeout(SOON, waiter).await.unwrap().unwrap().unwrap();
    assert!(next.fence() > fence + 1_000_000, "the promoted server skips fences that it may not have seen");
    next.release().await.unwrap();
}

/// A primary that hangs is replaced, and its holds are renewed at the new primary.
#[tokio::test(flavor = "multi_thread")]
async fn hold_is_renewed_at_the_new_primary_when_the_old_one_hangs() {
    let watched = Watched::start(1);
    let urls = watched.urls();
    let locks = Locks::sentinel(urls.iter().map(String::as_str), PRIMARY).unwrap();
    let held = locks.key("k").lease(Duration::from_secs(12)).acquire(SOON).await.unwrap();
    assert_eq!(watched.server(0).cmd(&["WAIT", "1", "10000"]), 1);
    watched.server(0).sigstop();
    let new = watched.until_failover(0);
    let is_renewed = || watched.server(new).info_number("redislock", "redislock_extensions") > 0;
    let until_renewed = async {
        while !is_renewed() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(SOON, until_renewed).await.expect("renewed at the new primary");
    assert!(held.is_held());
    held.release().await.unwrap();
    watched.server(0).sigcont();
    watched.until_whole();
}

#[tokio::test(flavor = "multi_thread")]
async fn waiter_in_a_cluster_follows_a_moved_slot_and_a_promoted_replica() {
    let cluster = Cluster::start(3, 1);
    let (from, key) = (cluster.first_home("k"), "k");
    let to = (from + 1) % 3;
    // The only seed is a node that does not have the slot.
    let seed = format!("redis://127.0.0.1:{}", cluster.node(to).port());
    let locks = Locks::cluster([seed.as_str()]).unwrap();
    let held = locks.key(key).lease(LONG).acquire(SOON).await.unwrap();
    // A client of one server does not follow redirections, and reports them.
    assert_eq!(code(timeout(SOON, Locks::server(&seed).unwrap().key(key).acquire(LONG)).await.unwrap()), "MOVED");
    let request = locks.key(key).lease(LONG);
    let waiter = tokio::spawn(async move { request.acquire(LONG).await });
    until("the client waits", || waiters(cluster.node(from)) == 1);

    cluster.begin_move(key, from, to);
    assert_eq!(cluster.migrate(key, from, to), "OK");
    cluster.end_move(key, from, to);
    until("the client waits at the node that has the slot now", || waiters(cluster.node(to)) == 1);

    assert_eq!(cluster.node(to).cmd(&["WAIT", "1", "10000"]), 1);
    cluster.node(to).kill9();
    cluster.until_promoted(to + 3);
    until("the client waits at the promoted replica", || waiters(cluster.node(to + 3)) == 1);
    let fence = held.fence();
    held.release().await.unwrap();
    let next = timeout(SOON, waiter).await.unwrap().unwrap().unwrap();
    assert!(next.fence() > fence);
    next.release().await.unwrap();
}
