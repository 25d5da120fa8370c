//! Replies that are lost or late, and a server that restarts during a wait.

use std::time::{Duration, Instant};

use crate::common::relay::Relay;
use crate::common::{ends_at, is_free, request_on, ttl, waiters, LONG};
use support::{until, Server};
use tokio::time::timeout;

/// The time limit of what should happen at once, on a busy machine.
const SOON: Duration = Duration::from_secs(10);

/// The lease may have begun as soon as the request was sent, however late the reply.
#[tokio::test(flavor = "multi_thread")]
async fn validity_is_reckoned_from_before_the_request_was_sent() {
    let server = Server::start();
    let relay = Relay::start(server.port());
    relay.delay_next("LOCK.ACQUIRE");
    let request = request_on(relay.port());
    let acquiring = tokio::spawn(async move { request.try_acquire().await });
    until("the request is sent", || relay.delayed_requests() == 1);
    let sent_at = Instant::now();
    tokio::time::sleep(Duration::from_millis(200)).await;
    relay.send_delayed();
    let guard = timeout(SOON, acquiring).await.unwrap().unwrap().unwrap();
    assert!(ends_at(&guard) <= sent_at + LONG - LONG / 100 + Duration::from_millis(5));
}

/// The client sends a request again under the same owner, so that it finds its own hold.
#[tokio::test(flavor = "multi_thread")]
async fn lost_replies_are_retried_without_harm() {
    let server = Server::start();
    for wait in [Duration::ZERO, SOON] {
        let relay = Relay::start(server.port());
        relay.drop_next_reply_to("LOCK.ACQUIRE");
        let guard = timeout(SOON, request_on(relay.port()).acquire(wait)).await.unwrap().unwrap();
        assert_eq!(relay.dropped_replies(), 1);
        assert!(ttl(&server, guard.owner()).is_some());
        relay.drop_next_reply_to("LOCK.EXTEND");
        let first = ends_at(&guard);
        guard.extend().await.unwrap();
        assert!(ends_at(&guard) > first);
        relay.drop_next_reply_to("LOCK.RELEASE");
        // The second release finds no hold. The lock was surely held before, so the first release ended it.
        guard.release().await.unwrap();
        assert_eq!(relay.dropped_replies(), 3);
        assert!(is_free(&server));
    }
    assert_eq!(server.info_field("redislock", "redislock_grants_at_once"), "2");
}

#[tokio::test(flavor = "multi_thread")]
async fn waiter_waits_again_after_its_server_restarts() {
    let server = Server::builder().aof().start();
    let held = request_on(server.port()).try_acquire().await.unwrap();
    let request = request_on(server.port());
    let waiter = tokio::spawn(async move { request.acquire(LONG).await });
    until("the client waits", || waiters(&server) == 1);
    server.kill9();
    server.restart();
    let (fence, owner) = (held.fence(), held.owner().to_owned());
    until("the client waits again", || waiters(&server) == 1);
    assert_eq!(server.cmd(&["LOCK.RELEASE", "k", &owner]), 1);
    assert!(timeout(SOON, waiter).await.unwrap().unwrap().unwrap().fence() > fence);
}
