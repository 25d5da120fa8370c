//! Acquiring locks of one server: grants, waits, modes, connections and errors.

use std::time::{Duration, Instant};

use crate::common::{code, ends_at, is_free, locks_on, request_on, ttl, waiters, LONG};
use redis_lock_client::Error;
use support::{until, Server};
use tokio::time::timeout;

/// The time limit of what should happen at once, on a busy machine.
const SOON: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread")]
async fn lock_is_held_until_it_is_released_and_every_grant_has_a_larger_fence() {
    let server = Server::start();
    let first = request_on(server.port()).acquire(SOON).await.unwrap();
    assert!(matches!(request_on(server.port()).try_acquire().await, Err(Error::NotAcquired)));
    assert!(matches!(request_on(server.port()).acquire(Duration::from_millis(50)).await, Err(Error::NotAcquired)));
    assert!(ttl(&server, first.owner()).unwrap() > 30_000);
    let fence = first.fence();
    first.release().await.unwrap();
    assert!(is_free(&server));
    let second = request_on(server.port()).try_acquire().await.unwrap();
    assert!(second.fence() > fence);
    second.release().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn released_lock_goes_to_the_client_that_waits_in_the_server() {
    let server = Server::start();
    let first = request_on(server.port()).try_acquire().await.unwrap();
    let request = request_on(server.port());
    let waiter = tokio::spawn(async move { request.acquire(LONG).await });
    until("the client waits", || waiters(&server) == 1);
    let fence = first.fence();
    first.release().await.unwrap();
    let second = timeout(SOON, waiter).await.unwrap().unwrap().unwrap();
    assert!(second.fence() > fence);
    assert!(ends_at(&second) > Instant::now() + LONG / 2, "reckoned from the grant, not from the request");
    second.release().await.unwrap();
}

/// The longest durations do not overflow.
#[tokio::test(flavor = "multi_thread")]
async fn wait_can_be_without_limit() {
    let server = Server::start();
    for within in [Duration::MAX, Duration::MAX / 2, Duration::from_secs(1 << 50), Duration::from_secs(1 << 40)] {
        let first = request_on(server.port()).try_acquire().await.unwrap();
        let request = request_on(server.port());
        let waiter = tokio::spawn(async move { request.acquire(within).await });
        until("the client waits", || waiters(&server) == 1);
        first.release().await.unwrap();
        timeout(SOON, waiter).await.unwrap().unwrap().unwrap().release().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn shared_and_counted_holds_keep_their_limits() {
    let server = Server::start();
    let readers = [
        request_on(server.port()).shared().try_acquire().await.unwrap(),
        request_on(server.port()).shared().try_acquire().await.unwrap(),
    ];
    assert!(matches!(request_on(server.port()).try_acquire().await, Err(Error::NotAcquired)));
    for reader in readers {
        reader.release().await.unwrap();
    }
    let _permits = [
        request_on(server.port()).counted(2).try_acquire().await.unwrap(),
        request_on(server.port()).counted(2).try_acquire().await.unwrap(),
    ];
    assert!(matches!(request_on(server.port()).counted(2).try_acquire().await, Err(Error::NotAcquired)));
}

/// This holds however many commands begin at the same time.
#[tokio::test(flavor = "multi_thread")]
async fn short_commands_share_one_connection() {
    let server = Server::start();
    let connections = || server.info_number("stats", "total_connections_received");
    let (before, locks) = (connections(), locks_on(server.port()));
    let acquiring = (0..100).map(|n| {
        let request = locks.key(format!("k{n}")).lease(LONG);
        tokio::spawn(async move { request.try_acquire().await })
    });
    for acquiring in acquiring.collect::<Vec<_>>() {
        acquiring.await.unwrap().unwrap().release().await.unwrap();
    }
    assert_eq!(connections(), before + 1);
}

/// A wait has a connection of its own, so other requests of the same client are answered meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn wait_delays_no_other_request() {
    let server = Server::start();
    let locks = locks_on(server.port());
    let held = locks.key("k").lease(LONG).try_acquire().await.unwrap();
    let request = locks.key("k").lease(LONG);
    let waiter = tokio::spawn(async move { request.acquire(LONG).await.map(|_| ()) });
    until("the client waits", || waiters(&server) == 1);
    timeout(SOON, locks.key("other").try_acquire()).await.unwrap().unwrap().release().await.unwrap();
    waiter.abort();
    held.release().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_requests_and_error_replies_are_reported() {
    let server = Server::start();
    for lease in [Duration::ZERO, Duration::from_micros(9999), Duration::from_secs(366 * 24 * 3600), Duration::MAX] {
        assert!(
            matches!(request_on(server.port()).lease(lease).try_acquire().await, Err(Error::Invalid(_))),
            "{lease:?}"
        );
    }
    for limit in [0, 1_000_001] {
        assert!(
            matches!(request_on(server.port()).counted(limit).try_acquire().await, Err(Error::Invalid(_))),
            "{limit}"
        );
    }
    server.cmd(&["SET", "k", "x"]);
    assert_eq!(code(request_on(server.port()).acquire(LONG).await), "WRONGTYPE");
}
