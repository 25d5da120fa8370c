//! A primary that hangs: its process is stopped, and its connections stay open. Waits leave it for the new primary.

use std::time::{Duration, Instant};

use crate::common::waiters;
use redis_lock_client::{Guard, Locks};
use support::{poll, until, Cluster, Server, Watched, PRIMARY};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Longer than any test.
const LONG: Duration = Duration::from_secs(120);
/// The time limit of a failover on a busy machine.
const SOON: Duration = Duration::from_secs(40);
/// In what time after the failover a wait must have left the old primary.
const LEAVES: Duration = Duration::from_secs(10);

/// Waits of several lengths, one of them without limit.
fn wait(locks: &Locks, key: &str) -> Vec<JoinHandle<Guard>> {
    let lengths = [Duration::from_secs(90), Duration::from_secs(3600), Duration::MAX];
    let waits = lengths.map(|length| {
        let request = locks.key(key).lease(LONG);
        tokio::spawn(async move { request.acquire(length).await.unwrap() })
    });
    waits.into()
}

async fn until_waiting(server: &Server, since: Instant) {
    let all_wait = || (waiters(server) == 3).then_some(());
    assert!(poll(LEAVES, all_wait).is_some(), "the waits are still elsewhere {:?} later", since.elapsed());
}

async fn release_and_serve(held: Guard, waits: Vec<JoinHandle<Guard>>) {
    held.release().await.unwrap();
    let mut fences = Vec::new();
    for wait in waits {
        // They are granted one after the other, each when the last one is released.
        fences.push(tokio::spawn(async move {
            let guard = wait.await.unwrap();
            let fence = guard.fence();
            guard.release().await.unwrap();
            fence
        }));
    }
    for fence in fences {
        timeout(SOON, fence).await.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn waits_leave_a_primary_that_hangs_under_sentinel() {
    let watched = Watched::start(1);
    let urls = watched.urls();
    let locks = Locks::sentinel(urls.iter().map(String::as_str), PRIMARY).unwrap();
    let held = locks.key("k").lease(LONG).acquire(SOON).await.unwrap();
    let waits = wait(&locks, "k");
    until("all wait", || waiters(watched.server(0)) == 3);
    assert_eq!(watched.server(0).cmd(&["WAIT", "1", "10000"]), 1);
    watched.server(0).sigstop();
    let new = watched.until_failover(0);
    until_waiting(watched.server(new), Instant::now()).await;
    release_and_serve(held, waits).await;
    assert!(locks.stats().connections_opened <= 20, "{:?}", locks.stats());
    watched.server(0).sigcont();
}

#[tokio::test(flavor = "multi_thread")]
async fn waits_leave_a_primary_that_hangs_in_a_cluster() {
    let cluster = Cluster::start(3, 1);
    let home = cluster.first_home("k");
    // The only seed is the node that will hang.
    let seed = crate::common::url(cluster.node(home).port());
    let locks = Locks::cluster([seed.as_str()]).unwrap();
    let held = locks.key("k").lease(LONG).acquire(SOON).await.unwrap();
    let waits = wait(&locks, "k");
    until("all wait", || waiters(cluster.node(home)) == 3);
    assert_eq!(cluster.node(home).cmd(&["WAIT", "1", "10000"]), 1);
    cluster.node(home).sigstop();
    cluster.until_promoted(home + 3);
    until_waiting(cluster.node(home + 3), Instant::now()).await;
    release_and_serve(held, waits).await;
    assert!(locks.stats().connections_opened <= 20, "{:?}", locks.stats());
    cluster.node(home).sigcont();
}
