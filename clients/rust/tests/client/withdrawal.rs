//! Requests and guards that are dropped at any time and in any thread leave nothing behind.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::Duration;

use crate::common::quorum::{quorum, start_servers};
use crate::common::relay::Relay;
use crate::common::{is_free, locks_on, request_on, waiters, LONG};
use redis_lock_client::{Error, Request};
use support::{until, Server};
use tokio::runtime::Runtime;

const SHORT: Duration = Duration::from_millis(600);
/// The number of requests that are dropped.
const ROUNDS: u32 = 300;

fn grants(server: &Server) -> i64 {
    server.info_number("redislock", "redislock_grants_at_once")
}

#[tokio::test(flavor = "multi_thread")]
async fn dropped_request_leaves_the_queue() {
    let server = Server::start();
    let held = request_on(server.port()).try_acquire().await.unwrap();
    let request = request_on(server.port());
    let waiter = tokio::spawn(async move { request.acquire(LONG).await.map(|_| ()) });
    until("the client waits", || waiters(&server) == 1);
    waiter.abort();
    assert!(waiter.await.unwrap_err().is_cancelled());
    until("no client waits", || waiters(&server) == 0);
    held.release().await.unwrap();
    assert!(is_free(&server));
}

/// The release follows the request on the same connection, so that it cannot overtake it.
#[tokio::test(flavor = "multi_thread")]
async fn request_that_arrives_after_its_withdrawal_is_released_too() {
    let server = Server::start();
    let relay = Relay::start(server.port());
    relay.delay_next("LOCK.ACQUIRE");
    let request = request_on(relay.port());
    let acquiring = tokio::spawn(async move { request.acquire(LONG).await.map(|_| ()) });
    until("the request is delayed", || relay.delayed_requests() == 1);
    acquiring.abort();
    assert!(acquiring.await.unwrap_err().is_cancelled());
    assert_eq!(grants(&server), 0);
    relay.send_delayed();
    until("the lock is granted", || grants(&server) == 1);
    until("the grant is released", || is_free(&server));
}

/// Drops requests at random times. A rival acquires and releases the lock all the time, so that some requests wait,
/// some are granted and some refused.
async fn drop_at_random_times(request: Request, servers: &[Server]) {
    let is_done = Arc::new(AtomicBool::new(false));
    let (rival, rival_is_done) = (request.clone(), Arc::clone(&is_done));
    let rival = tokio::spawn(async move {
        while !rival_is_done.load(Ordering::Relaxed) {
            if let Ok(guard) = rival.acquire(LONG).await {
                tokio::time::sleep(Duration::from_micros(rand::random_range(0..1000))).await;
                guard.release().await.unwrap();
            }
        }
    });
    for _ in 0..ROUNDS {
        let within = if rand::random() { LONG } else { Duration::ZERO };
        let lifetime = Duration::from_micros(rand::random_range(0..3000));
        // A guard that the request returns is dropped at once.
        let _ = tokio::time::timeout(lifetime, request.acquire(within)).await;
    }
    is_done.store(true, Ordering::Relaxed);
    rival.await.unwrap();
    for server in servers {
        until("no client waits", || waiters(server) == 0);
        until("the lock is free", || is_free(server));
        until("no client is blocked", || server.blocked() == 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn request_can_be_dropped_at_any_time() {
    let server = Server::start();
    drop_at_random_times(request_on(server.port()), std::slice::from_ref(&server)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn request_to_a_quorum_can_be_dropped_at_any_time() {
    let servers = start_servers(3);
    drop_at_random_times(quorum(&servers).key("k").lease(LONG), &servers).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn release_can_be_dropped_at_any_time() {
    let server = Server::start();
    for _ in 0..ROUNDS / 3 {
        let guard = request_on(server.port()).acquire(LONG).await.unwrap();
        let _ = tokio::time::timeout(Duration::from_micros(rand::random_range(0..300)), guard.release()).await;
        until("the lock is released", || is_free(&server));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dropped_guard_releases_the_lock() {
    let server = Server::start();
    drop(request_on(server.port()).try_acquire().await.unwrap());
    until("the lock is released", || is_free(&server));
}

#[tokio::test(flavor = "multi_thread")]
async fn guard_can_be_dropped_in_a_thread_without_a_runtime() {
    let server = Server::start();
    let guard = request_on(server.port()).try_acquire().await.unwrap();
    std::thread::spawn(move || drop(guard)).join().unwrap();
    until("the lock is released", || is_free(&server));
}

#[test]
fn hold_whose_guard_outlives_the_runtime_ends_with_its_lease() {
    let server = Server::start();
    let runtime = Runtime::new().unwrap();
    let guard = runtime.block_on(request_on(server.port()).lease(SHORT).try_acquire()).unwrap();
    drop(runtime);
    drop(guard);
    until("the lease has expired", || is_free(&server));
}

/// The waits of a closed client end, and what was dropped is released when `close` returns.
#[tokio::test(flavor = "multi_thread")]
async fn closed_client_ends_its_waits_and_has_released_what_was_dropped() {
    let server = Server::start();
    let locks = locks_on(server.port());
    let held = locks.key("k").lease(LONG).try_acquire().await.unwrap();
    let dropped = locks.key("l").lease(LONG).try_acquire().await.unwrap();
    let request = locks.key("k").lease(LONG);
    let waiter = tokio::spawn(async move { request.acquire(LONG).await.map(|_| ()) });
    until("the client waits", || waiters(&server) == 1);
    drop(dropped);
    held.release().await.unwrap();
    let ended = waiter.await.unwrap();
    assert!(ended.is_ok(), "it got the lock: {ended:?}");
    let held = locks.key("k").lease(LONG).acquire(LONG).await.unwrap();
    let request = locks.key("k").lease(LONG);
    let waiter = tokio::spawn(async move { request.acquire(LONG).await.map(|_| ()) });
    until("the client waits", || waiters(&server) == 1);
    drop(held);
    let rival = request_on(server.port());
    locks.close().await;
    let ended = waiter.await.unwrap();
    assert!(matches!(ended, Err(Error::Closed) | Ok(())), "{ended:?}");
    assert!(matches!(locks.key("m").acquire(LONG).await, Err(Error::Closed)));
    rival.acquire(Duration::from_secs(20)).await.unwrap().release().await.unwrap();
    until("nothing is left", || server.info("keyspace").is_empty());
}
