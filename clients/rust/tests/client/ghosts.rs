//! Whatever ends a request, nothing is left behind: servers that stop, and relays that hold requests up.

use std::time::Duration;

use crate::common::quorum::{quorum, start_servers};
use crate::common::relay::Relay;
use crate::common::{is_free, locks_on, request_on, waiters};
use support::{poll, until, Server};

/// Longer than any test, and than the silence of a server.
const LEASE: Duration = Duration::from_secs(300);
/// The time limit of what should happen at once, on a busy machine.
const SOON: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn requests_to_a_server_that_stops_for_long_leave_no_ghost() {
    let server = Server::start();
    let locks = locks_on(server.port());
    locks.key("warm").acquire(SOON).await.unwrap().release().await.unwrap();
    server.sigstop();
    let refused = locks.key("k").lease(LEASE).try_acquire().await;
    assert!(refused.is_err(), "{refused:?}");
    let dropped = tokio::time::timeout(Duration::from_millis(100), locks.key("l").lease(LEASE).acquire(LEASE)).await;
    assert!(dropped.is_err());
    tokio::time::sleep(Duration::from_secs(8)).await;
    server.sigcont();
    until("both requests were executed", || server.info_number("redislock", "redislock_grants_at_once") == 3);
    until("no ghost is left", || server.info("keyspace").is_empty());
    assert_eq!(waiters(&server), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn request_to_a_quorum_with_a_member_that_stops_leaves_no_ghost() {
    let servers = start_servers(3);
    let locks = quorum(&servers);
    locks.key("warm").acquire(SOON).await.unwrap().release().await.unwrap();
    servers[1].sigstop();
    let guard = locks.key("k").lease(LEASE).acquire(SOON).await.unwrap();
    guard.release().await.unwrap();
    let dropped = tokio::time::timeout(Duration::from_millis(50), locks.key("l").lease(LEASE).acquire(LEASE)).await;
    drop(dropped);
    tokio::time::sleep(Duration::from_millis(2500)).await;
    servers[1].sigcont();
    for server in &servers {
        until("no ghost is left", || server.info("keyspace").is_empty());
    }
    // Later requests that are still under way find nothing to take.
    locks.key("k").acquire(SOON).await.unwrap().release().await.unwrap();
}

/// The request is held up on the way, so that its withdrawal could overtake it. A thousand times at random moments.
#[tokio::test(flavor = "multi_thread")]
async fn thousand_cancellations_at_random_moments_leave_nothing() {
    let server = Server::start();
    let locks = locks_on(server.port());
    let mut tasks = Vec::new();
    for task in 0..10 {
        let locks = locks.clone();
        tasks.push(tokio::spawn(async move {
            for n in 0..100 {
                let request = locks.key(format!("k{}", (task + n) % 4)).lease(LEASE);
                let within = if n % 3 == 0 { Duration::ZERO } else { LEASE };
                let lifetime = Duration::from_micros(rand::random_range(0..5000));
                // A guard that the request returns is dropped at once, or after a while.
                if let Ok(Ok(guard)) = tokio::time::timeout(lifetime, request.acquire(within)).await {
                    if n % 2 == 0 {
                        tokio::time::sleep(Duration::from_micros(rand::random_range(0..2000))).await;
                    }
                    drop(guard);
                }
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    until("nobody waits", || waiters(&server) == 0);
    until("nothing is held", || server.info("keyspace").is_empty());
    assert!(locks.stats().connections_opened <= 30, "{:?}", locks.stats());
}

/// The connection ends while the request is still on its way to the server.
#[tokio::test(flavor = "multi_thread")]
async fn request_that_outlives_its_connection_is_released() {
    let server = Server::start();
    let relay = Relay::start(server.port());
    let request = request_on(relay.port()).lease(LEASE);
    relay.delay_next("LOCK.ACQUIRE");
    let acquiring = tokio::spawn(async move { request.acquire(LEASE).await.map(|_| ()) });
    until("the request is delayed", || relay.delayed_requests() == 1);
    acquiring.abort();
    assert!(acquiring.await.unwrap_err().is_cancelled());
    // The client is gone, and with it the connection. The server sees the request all the same.
    relay.send_delayed();
    let executed = || server.info_number("redislock", "redislock_grants_at_once") == 1;
    if poll(Duration::from_secs(2), || executed().then_some(())).is_some() {
        until("nothing is left", || is_free(&server));
    }
}
