//! All that the server has beyond an exclusive lock: weights, bounds, cooling, sessions, several keys, and so on.

use std::time::Duration;

use crate::common::{is_free, locks_on, request_on, waiters, LONG};
use redis_lock_client::{Error, Filter, Loss};
use support::{until, Cluster, Server};
use tokio::time::timeout;

/// The time limit of what should happen at once, on a busy machine.
const SOON: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn holder_of_several_units_leaves_the_rest() {
    let server = Server::start();
    let heavy = request_on(server.port()).weighted(5, 3).try_acquire().await.unwrap();
    assert!(matches!(request_on(server.port()).weighted(5, 3).try_acquire().await, Err(Error::NotAcquired)));
    let light = request_on(server.port()).weighted(5, 2).try_acquire().await.unwrap();
    let holders = locks_on(server.port()).info("k").await.unwrap().unwrap().holders;
    assert_eq!(holders.iter().map(|holder| (holder.limit, holder.weight)).collect::<Vec<_>>(), [(5, 3), (5, 2)]);
    heavy.release().await.unwrap();
    light.release().await.unwrap();
    assert!(matches!(request_on(server.port()).weighted(5, 6).try_acquire().await, Err(Error::Invalid(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn hold_ends_at_its_longest_time_however_often_it_is_renewed() {
    let server = Server::start();
    let max = Duration::from_millis(900);
    let guard = request_on(server.port()).lease(Duration::from_millis(600)).max(max).try_acquire().await.unwrap();
    assert_eq!(timeout(SOON, guard.lost()).await.unwrap(), Loss::Expired);
    assert!(locks_on(server.port()).info("k").await.unwrap().is_none_or(|info| info.holders_count <= 1));
    until("the server ends it too", || is_free(&server));
    assert!(matches!(guard.release().await, Err(Error::NotHeld)));
}

#[tokio::test(flavor = "multi_thread")]
async fn lock_cools_after_a_release_and_after_a_holder_that_died() {
    let server = Server::start();
    let locks = locks_on(server.port());
    let guard = request_on(server.port()).try_acquire().await.unwrap();
    guard.release_and_cool(Duration::from_secs(600)).await.unwrap();
    let info = locks.info("k").await.unwrap().unwrap();
    assert!(info.mode == "cooling" && info.cooling > Duration::from_secs(500), "{info:?}");
    assert!(matches!(request_on(server.port()).try_acquire().await, Err(Error::NotAcquired)));
    server.cmd(&["DEL", "k"]);
    let dying = locks.key("k").lease(Duration::from_millis(50)).delay(Duration::from_secs(600)).without_renewal();
    let dying = dying.try_acquire().await.unwrap();
    timeout(SOON, dying.lost()).await.unwrap();
    // The server shows nothing between the end of the lease and the moment at which it notices.
    let cools = || !is_free(&server) && server.cmd(&["LOCK.INFO", "k"]).array()[1].text() == "cooling";
    until("the lock cools", cools);
}

#[tokio::test(flavor = "multi_thread")]
async fn job_runs_once_in_a_period() {
    let server = Server::start();
    let request = locks_on(server.port()).key("job");
    let hour = Duration::from_secs(3600);
    assert_eq!(request.once_per(hour, async |guard| guard.is_held()).await.unwrap(), Some(true));
    assert_eq!(request.once_per(hour, async |_| panic!("it has run")).await.unwrap(), None::<()>);
    let info = locks_on(server.port()).info("job").await.unwrap().unwrap();
    assert!(info.cooling > hour - Duration::from_secs(60), "{info:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn downgrade_lets_readers_in_without_the_lock_being_free() {
    let server = Server::start();
    let guard = request_on(server.port()).try_acquire().await.unwrap();
    let request = request_on(server.port()).shared();
    let reader = tokio::spawn(async move { request.acquire(LONG).await });
    until("the reader waits", || waiters(&server) == 1);
    let fence = guard.fence();
    guard.downgrade().await.unwrap();
    let reader = timeout(SOON, reader).await.unwrap().unwrap().unwrap();
    assert!(guard.is_held() && guard.fence() == fence);
    guard.release().await.unwrap();
    reader.release().await.unwrap();
    assert!(is_free(&server));
}

/// The hold ends with its connection, and its guard says so.
#[tokio::test(flavor = "multi_thread")]
async fn session_ends_with_its_connection() {
    let server = Server::start();
    let guard = request_on(server.port()).session().acquire(SOON).await.unwrap();
    let session = locks_on(server.port()).info("k").await.unwrap().unwrap().holders[0].session;
    assert!(session > 0);
    server.cmd(&["CLIENT", "KILL", "ID", &session.to_string()]);
    let loss = timeout(SOON, guard.lost()).await.unwrap();
    assert!(matches!(loss, Loss::SessionEnded | Loss::Removed), "{loss:?}");
    until("the server has ended it", || is_free(&server));
    let other = request_on(server.port()).session().try_acquire().await.unwrap();
    other.release().await.unwrap();
    assert!(is_free(&server));
}

#[tokio::test(flavor = "multi_thread")]
async fn several_locks_are_granted_together_or_not_at_all() {
    let server = Server::start();
    let locks = locks_on(server.port());
    let taken = locks.key("b").lease(LONG).try_acquire().await.unwrap();
    let request = locks.keys(["a", "b", "c"]).lease(Duration::from_secs(3));
    assert!(matches!(request.try_acquire().await, Err(Error::NotAcquired)));
    let waiter = tokio::spawn({
        let request = request.clone();
        async move { request.acquire(LONG).await }
    });
    until("it waits", || server.info_number("redislock", "redislock_waiters") >= 1);
    taken.release().await.unwrap();
    let all = timeout(SOON, waiter).await.unwrap().unwrap().unwrap();
    assert_eq!(all.fences().len(), 3);
    assert!(all.check().await.unwrap().is_some());
    all.extend().await.unwrap();
    server.cmd(&["DEL", "b"]);
    assert_eq!(timeout(SOON, all.lost()).await.unwrap(), Loss::Removed, "with one of them all are lost");
    assert!(matches!(all.release().await, Err(Error::NotHeld)));
    until("the others are released", || server.info("keyspace").is_empty());
    assert!(matches!(locks.keys(Vec::<String>::new()).try_acquire().await, Err(Error::Invalid(_))));
    assert!(matches!(locks.keys(["a", "b"]).counted(2).try_acquire().await, Err(Error::Invalid(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn durable_grant_needs_its_replicas() {
    let server = Server::start();
    let refused = request_on(server.port()).durable_within(1, Duration::from_millis(100)).acquire(SOON).await;
    assert!(matches!(refused, Err(Error::NotDurable { wanted: 1, confirmed: 0 })), "{refused:?}");
    until("the lock is released", || is_free(&server));
    let replica = Server::builder().replica_of(&server).start();
    until("the replica is in step", || replica.info_field("replication", "master_link_status") == "up");
    let guard = request_on(server.port()).durable_within(1, SOON).acquire(SOON).await.unwrap();
    assert_ne!(replica.cmd(&["LOCK.INFO", "k"]), support::Value::NullBulk, "the replica has it");
    guard.release().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn lease_can_be_changed_and_renewals_use_the_new_one() {
    let server = Server::start();
    let guard = request_on(server.port()).try_acquire().await.unwrap();
    assert!(guard.extend_to(Duration::from_secs(2)).await.unwrap() < Duration::from_secs(2));
    assert!(guard.check().await.unwrap().unwrap() <= Duration::from_secs(2));
    assert!(matches!(guard.extend_to(Duration::ZERO).await, Err(Error::Invalid(_))));
    until("it is renewed", || server.info_number("redislock", "redislock_extensions") >= 2);
    assert!(guard.is_held());
    server.cmd(&["DEL", "k"]);
    assert_eq!(guard.check().await.unwrap(), None);
    assert!(!guard.is_held());
}

#[tokio::test(flavor = "multi_thread")]
async fn locks_are_listed_at_all_nodes_of_a_cluster() {
    let cluster = Cluster::start(3, 0);
    let url = crate::common::url(cluster.node(0).port());
    let locks = redis_lock_client::Locks::cluster([url.as_str()]).unwrap();
    let owner = locks.owner();
    let mut guards = Vec::new();
    for n in 0..12 {
        guards.push(owner.key(format!("job:{n}")).lease(LONG).acquire(SOON).await.unwrap());
    }
    guards.push(locks.key("other").lease(LONG).acquire(SOON).await.unwrap());
    assert_eq!(locks.list(&Filter::all()).await.unwrap().len(), 13);
    assert_eq!(locks.list(&Filter::all().matching("job:1*")).await.unwrap().len(), 3);
    let listed = locks.list(&Filter::all().held_by(owner.name())).await.unwrap();
    assert_eq!(listed.len(), 12);
    assert!(listed.iter().all(|lock| lock.owner == owner.name() && lock.fence > 0 && lock.ttl > LONG / 2));
    for guard in guards {
        guard.release().await.unwrap();
    }
}
