//! Guards: clones, renewal, and how a loss is reported.

use std::time::{Duration, Instant};

use crate::common::{ends_at, is_free, request_on, ttl, LONG};
use redis_lock_client::Error;
use support::{until, Server};
use tokio::time::timeout;

/// The time limit of what should happen at once, on a busy machine.
const SOON: Duration = Duration::from_secs(10);
/// How exactly a moment can be compared that was reckoned by two clocks.
const TICK: Duration = Duration::from_millis(5);
const SHORT: Duration = Duration::from_millis(600);

#[tokio::test(flavor = "multi_thread")]
async fn clones_of_a_guard_are_one_hold_that_ends_with_the_last_clone() {
    let server = Server::start();
    let guard = request_on(server.port()).try_acquire().await.unwrap();
    let clone = guard.clone();
    assert_eq!(guard.depth(), 2);
    clone.release().await.unwrap();
    assert_eq!(guard.depth(), 1);
    assert!(ttl(&server, guard.owner()).is_some());
    guard.release().await.unwrap();
    assert!(is_free(&server));
}

#[tokio::test(flavor = "multi_thread")]
async fn hold_is_renewed_beyond_its_lease() {
    let server = Server::start();
    let lease = Duration::from_secs(3);
    let guard = request_on(server.port()).lease(lease).try_acquire().await.unwrap();
    let renewals = || server.info_field("redislock", "redislock_extensions").parse::<u32>().unwrap();
    while renewals() < 5 {
        assert!(ttl(&server, guard.owner()).is_some());
        tokio::time::sleep(lease / 20).await;
    }
    assert!(guard.is_held());
    assert!(!guard.extend().await.unwrap().is_zero());
    guard.release().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn extension_lengthens_the_hold_of_every_clone() {
    let server = Server::start();
    let guard = request_on(server.port()).try_acquire().await.unwrap();
    let (clone, first) = (guard.clone(), ends_at(&guard));
    let remaining = guard.extend().await.unwrap();
    assert!(ends_at(&clone) > first);
    assert!(remaining < LONG - LONG / 100, "the share for clock drift is taken off");
}

/// The server reports the change long before the next renewal.
#[tokio::test(flavor = "multi_thread")]
async fn loss_is_reported_at_once_when_an_operator_removes_the_key() {
    let server = Server::start();
    let is_tracked = || server.info_number("stats", "tracking_total_keys") == 1;
    for waits_for_tracking in [true, false] {
        let guard = request_on(server.port()).try_acquire().await.unwrap();
        if waits_for_tracking {
            until("the server tracks the key", is_tracked);
        }
        assert_eq!(server.cmd(&["DEL", "k"]), 1);
        timeout(SOON, guard.lost()).await.expect("reported before a third of the lease has passed");
        assert!(!guard.is_held() && guard.remaining().is_zero());
        assert!(matches!(guard.extend().await, Err(Error::NotHeld)));
        assert!(matches!(guard.release().await, Err(Error::NotHeld)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn loss_of_a_shared_hold_is_reported_by_the_next_renewal() {
    let server = Server::start();
    let guard = request_on(server.port()).shared().lease(SHORT).try_acquire().await.unwrap();
    let clone = guard.clone();
    assert_eq!(server.cmd(&["DEL", "k"]), 1);
    timeout(SOON, guard.lost()).await.expect("reported by the next renewal");
    assert!(matches!(clone.release().await, Err(Error::NotHeld)));
    assert!(matches!(guard.extend().await, Err(Error::NotHeld)));
}

#[tokio::test(flavor = "multi_thread")]
async fn loss_is_reported_when_the_server_is_dead_or_silent() {
    for silence in [Server::kill9, Server::sigstop] {
        let server = Server::start();
        let guard = request_on(server.port()).lease(SHORT).try_acquire().await.unwrap();
        let held_until = ends_at(&guard) - TICK;
        silence(&server);
        timeout(SOON, guard.lost()).await.expect("reported by the end of the lease");
        assert!(Instant::now() >= held_until, "not before");
    }
}
