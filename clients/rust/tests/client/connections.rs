//! How many connections the client opens, and how it comes by a new one.

use std::time::{Duration, Instant};

use crate::common::{code, is_free, locks_on, request_on, waiters, LONG};
use redis_lock_client::{Error, Locks};
use support::{poll, until, Cluster, Server};
use tokio::time::timeout;

/// The time limit of what should happen at once, on a busy machine.
const SOON: Duration = Duration::from_secs(20);

fn accepted(server: &Server) -> i64 {
    server.info_number("stats", "total_connections_received")
}

/// A lock that is free is granted on the shared connection.
#[tokio::test(flavor = "multi_thread")]
async fn uncontended_acquisitions_share_one_connection() {
    let server = Server::start();
    let (before, locks) = (accepted(&server), locks_on(server.port()));
    let tasks = (0..8).map(|task| {
        let locks = locks.clone();
        tokio::spawn(async move {
            for n in 0..500 {
                let guard = locks.key(format!("k{task}:{n}")).lease(LONG).acquire(LONG).await.unwrap();
                guard.release().await.unwrap();
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    assert_eq!(locks.stats().acquired, 4000);
    assert!(locks.stats().connections_opened <= 5 && accepted(&server) - before <= 5, "{:?}", locks.stats());
}

/// The connection of a wait is used again by the next one.
#[tokio::test(flavor = "multi_thread")]
async fn waits_reuse_connections() {
    let server = Server::start();
    let locks = locks_on(server.port());
    for _ in 0..20 {
        let held = locks.key("k").lease(LONG).acquire(LONG).await.unwrap();
        let request = locks.key("k").lease(LONG);
        let waiter = tokio::spawn(async move { request.acquire(LONG).await });
        until("the client waits", || waiters(&server) == 1);
        held.release().await.unwrap();
        waiter.await.unwrap().unwrap().release().await.unwrap();
    }
    assert_eq!(locks.stats().connections_opened, 2, "one that all share, and one for the waits");
}

/// The holds of a lost connection are looked at one after the other, and are not all extended.
#[tokio::test(flavor = "multi_thread")]
async fn lost_connection_does_not_make_all_holds_extend() {
    let server = Server::start();
    let locks = locks_on(server.port());
    let mut guards = Vec::new();
    for n in 0..200 {
        guards.push(locks.key(format!("k{n}")).lease(LONG).acquire(LONG).await.unwrap());
    }
    let checks = || {
        let calls = server.info("commandstats").get("cmdstat_lock.check").cloned().unwrap_or_default();
        calls.split(['=', ',']).nth(1).and_then(|calls| calls.parse::<u64>().ok()).unwrap_or(0)
    };
    until("all are watched", || checks() >= 200);
    server.cmd(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
    until("all are watched again", || checks() >= 400);
    assert_eq!(server.info_number("redislock", "redislock_extensions"), 0);
    assert!(guards.iter().all(|guard| guard.is_held()) && locks.stats().connections_opened <= 3);
}

/// Waits beyond the limit stand behind the others, and a release needs none of their connections.
#[tokio::test(flavor = "multi_thread")]
async fn waits_have_no_more_connections_than_they_may() {
    let server = Server::start();
    let locks = Locks::builder().max_wait_connections(3).server(&crate::common::url(server.port())).unwrap();
    let held = locks.key("k").lease(LONG).acquire(LONG).await.unwrap();
    let tasks = (0..14).map(|_| {
        let request = locks.key("k").lease(LONG);
        tokio::spawn(async move { request.acquire(LONG).await.unwrap().release().await.unwrap() })
    });
    let tasks: Vec<_> = tasks.collect();
    until("three wait", || waiters(&server) == 3);
    let limited = locks.key("k").acquire(Duration::from_millis(100)).await;
    assert!(matches!(limited, Err(Error::NotAcquired)), "{limited:?}");
    held.release().await.unwrap();
    for task in tasks {
        timeout(SOON, task).await.unwrap().unwrap();
    }
    assert!(locks.stats().connections_opened <= 4, "{:?}", locks.stats());
}

/// With shared waits a hot lock costs one place in the server's queue.
#[tokio::test(flavor = "multi_thread")]
async fn shared_waits_stand_behind_one_in_the_server() {
    let server = Server::start();
    let locks = Locks::builder().share_waits(true).server(&crate::common::url(server.port())).unwrap();
    let held = locks.key("k").lease(LONG).acquire(LONG).await.unwrap();
    let tasks = (0..10).map(|_| {
        let request = locks.key("k").lease(LONG);
        tokio::spawn(async move { request.acquire(LONG).await.unwrap().release().await.unwrap() })
    });
    let tasks: Vec<_> = tasks.collect();
    until("one waits", || waiters(&server) == 1);
    let limited = locks.key("k").acquire(Duration::from_millis(100)).await;
    assert!(matches!(limited, Err(Error::NotAcquired)), "its turn does not come in time");
    assert_eq!(waiters(&server), 1);
    held.release().await.unwrap();
    for task in tasks {
        timeout(SOON, task).await.unwrap().unwrap();
    }
    assert!(is_free(&server) && locks.stats().connections_opened <= 3, "{:?}", locks.stats());
}

/// Every node has one connection, and all slots together need a look or two at the map.
#[tokio::test(flavor = "multi_thread")]
async fn cold_keys_of_a_cluster_need_the_map_once_and_one_connection_a_node() {
    let cluster = Cluster::start(3, 0);
    let url = format!("redis://127.0.0.1:{}", cluster.node(0).port());
    let locks = Locks::cluster([url.as_str()]).unwrap();
    let acquiring = (0..3200_u16).map(|n| {
        let request = locks.key(format!("k{n}")).lease(LONG);
        tokio::spawn(async move { request.acquire(LONG).await })
    });
    for acquiring in acquiring.collect::<Vec<_>>() {
        acquiring.await.unwrap().unwrap().release().await.unwrap();
    }
    let stats = locks.stats();
    // On a busy machine a node is looked at because it is slow, on a second connection.
    assert!(stats.lookups <= 6 && stats.connections_opened <= 10, "{stats:?}");
}

/// Waits that have lost their server try again with pauses that differ, and all share the attempts to connect.
#[tokio::test(flavor = "multi_thread")]
async fn many_waits_that_lose_their_server_do_not_storm_it() {
    let server = Server::builder().aof().start();
    let locks = locks_on(server.port());
    let held = locks.key("k").lease(LONG).acquire(LONG).await.unwrap();
    let tasks = (0..100).map(|_| {
        let request = locks.key("k").lease(LONG);
        tokio::spawn(async move { request.acquire(LONG).await.map(|_| ()) })
    });
    let tasks: Vec<_> = tasks.collect();
    until("all wait", || waiters(&server) == 100);
    server.kill9();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let failed = locks.stats().connections_failed;
    assert!((1..=20).contains(&failed), "in 2 s: {:?}", locks.stats());
    server.restart();
    until("all wait again", || waiters(&server) == 100);
    for task in &tasks {
        task.abort();
    }
    until("nobody waits", || waiters(&server) == 0);
    held.release().await.unwrap();
    until("nothing is left", || is_free(&server));
}

/// A connection over which nothing comes any more is replaced, if the server answers on another one.
#[tokio::test(flavor = "multi_thread")]
async fn dead_connection_to_a_healthy_server_is_replaced() {
    let server = Server::start();
    let relay = crate::common::relay::Relay::start(server.port());
    let locks =
        Locks::builder().request_timeout(Duration::from_millis(200)).server(&crate::common::url(relay.port())).unwrap();
    locks.key("first").lease(LONG).acquire(SOON).await.unwrap().release().await.unwrap();
    // The relay keeps this request and all that follows it on the same connection.
    relay.delay_next("LOCK.ACQUIRE");
    let guard = timeout(SOON, locks.key("k").lease(LONG).acquire(LONG)).await.unwrap().unwrap();
    assert_eq!(locks.stats().connections_opened, 2);
    guard.release().await.unwrap();
    // The late request gets the lock for nobody, and is released again.
    relay.send_delayed();
    until("the late request was executed", || server.info_number("redislock", "redislock_grants_at_once") >= 2);
    assert!(poll(SOON, || is_free(&server).then_some(())).is_some(), "nothing is left");
}

/// The error is what the server said last.
#[tokio::test(flavor = "multi_thread")]
async fn error_that_lasts_until_the_time_limit_has_the_text_of_the_server() {
    let server = Server::start();
    let replica = Server::builder().replica_of(&server).start();
    until("the replica is in step", || replica.info_field("replication", "master_link_status") == "up");
    let locks = locks_on(replica.port());
    let begun = Instant::now();
    let refused = locks.key("k").acquire(Duration::from_secs(2)).await;
    assert!(begun.elapsed() >= Duration::from_secs(1), "a failover could end it");
    assert_eq!(code(refused), "READONLY");
    assert!(locks.stats().connections_opened <= 2, "{:?}", locks.stats());
    let nobody = Locks::server("redis://127.0.0.1:1").unwrap().key("k").acquire(Duration::from_millis(300)).await;
    assert!(matches!(&nobody, Err(Error::Unreachable(text)) if text.contains("127.0.0.1:1")), "{nobody:?}");
    drop(request_on(server.port()).try_acquire().await.unwrap());
}
