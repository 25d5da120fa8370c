//! Requests and guards that are dropped, wherever and whenever: nothing stays behind.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod relay;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::Duration;

use redis_lock_client::{Locks, Request};
use relay::Relay;
use support::{until, Server, Value};
use tokio::runtime::Runtime;

/// Longer than any test: what stays behind is there to be seen.
const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(600);
/// How many requests are dropped.
const ROUNDS: u32 = 300;

fn k(port: u16) -> Request {
    Locks::server(&format!("redis://127.0.0.1:{port}")).unwrap().key("k").lease(LONG)
}

fn is_free(server: &Server) -> bool {
    server.cmd(&["LOCK.INFO", "k"]) == Value::NullBulk
}

fn waiters(server: &Server) -> i64 {
    server.info_number("redislock", "redislock_waiters")
}

fn grants(server: &Server) -> i64 {
    server.info_number("redislock", "redislock_grants_at_once")
}

#[tokio::test(flavor = "multi_thread")]
async fn dropped_request_leaves_the_line() {
    let server = Server::start();
    let held = k(server.port()).try_acquire().await.unwrap();
    let request = k(server.port());
    let waits = tokio::spawn(async move { request.acquire(LONG).await.map(|_| ()) });
    until("it waits", || waiters(&server) == 1);
    waits.abort();
    assert!(waits.await.unwrap_err().is_cancelled());
    until("nobody waits", || waiters(&server) == 0);
    held.release().await.unwrap();
    assert!(is_free(&server));
}

/// A packet was lost: the request comes to the server after the release that was to withdraw it, by another connection.
#[tokio::test(flavor = "multi_thread")]
async fn request_that_comes_after_its_withdrawal_is_given_back_too() {
    let server = Server::start();
    let relay = Relay::to(server.port());
    relay.keep_back_one("LOCK.ACQUIRE");
    let request = k(relay.port());
    let asks = tokio::spawn(async move { request.acquire(LONG).await.map(|_| ()) });
    until("it is on its way", || relay.kept_back() == 1);
    asks.abort();
    assert!(asks.await.unwrap_err().is_cancelled());
    let withdrawn = || server.info("commandstats").contains_key("cmdstat_lock.release");
    until("it is withdrawn", withdrawn);
    assert_eq!(grants(&server), 0);
    relay.let_go();
    until("it is granted", || grants(&server) == 1);
    until("and given back", || is_free(&server));
}

/// A rival takes it and gives it back all the time, so that the requests wait, are granted and are refused.
async fn drop_at_random_points(request: Request, servers: &[Server]) {
    let is_over = Arc::new(AtomicBool::new(false));
    let (rival, until_over) = (request.clone(), Arc::clone(&is_over));
    let rival = tokio::spawn(async move {
        while !until_over.load(Ordering::Relaxed) {
            if let Ok(guard) = rival.acquire(LONG).await {
                tokio::time::sleep(Duration::from_micros(rand::random_range(0..1000))).await;
                guard.release().await.unwrap();
            }
        }
    });
    for _ in 0..ROUNDS {
        let within = if rand::random() { LONG } else { Duration::ZERO };
        let life = Duration::from_micros(rand::random_range(0..3000));
        // The guard, if there is one, is dropped as well.
        let _ = tokio::time::timeout(life, request.acquire(within)).await;
    }
    is_over.store(true, Ordering::Relaxed);
    rival.await.unwrap();
    for server in servers {
        until("nobody waits", || waiters(server) == 0);
        until("nobody holds", || is_free(server));
        until("all is quiet", || server.blocked() == 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn request_may_be_dropped_at_any_point() {
    let server = Server::start();
    drop_at_random_points(k(server.port()), std::slice::from_ref(&server)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn request_to_a_quorum_may_be_dropped_at_any_point() {
    let servers = [(); 3].map(|()| Server::start());
    let urls = servers.each_ref().map(|server| format!("redis://127.0.0.1:{}", server.port()));
    let quorum = Locks::quorum(urls.iter().map(String::as_str)).unwrap();
    drop_at_random_points(quorum.key("k").lease(LONG), &servers).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn release_may_be_dropped_at_any_point() {
    let server = Server::start();
    for _ in 0..ROUNDS / 3 {
        let guard = k(server.port()).acquire(LONG).await.unwrap();
        let _ = tokio::time::timeout(Duration::from_micros(rand::random_range(0..300)), guard.release()).await;
        until("it is released", || is_free(&server));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dropped_guard_releases() {
    let server = Server::start();
    drop(k(server.port()).try_acquire().await.unwrap());
    until("it is released", || is_free(&server));
}

#[tokio::test(flavor = "multi_thread")]
async fn guard_is_released_from_a_thread_that_has_no_runtime() {
    let server = Server::start();
    let guard = k(server.port()).try_acquire().await.unwrap();
    std::thread::spawn(move || drop(guard)).join().unwrap();
    until("it is released", || is_free(&server));
}

#[test]
fn guard_that_outlives_its_runtime_ends_with_its_lease() {
    let server = Server::start();
    let runtime = Runtime::new().unwrap();
    let guard = runtime.block_on(k(server.port()).lease(SHORT).try_acquire()).unwrap();
    drop(runtime);
    drop(guard);
    until("its lease is over", || is_free(&server));
}
