//! Locks of one server.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod relay;

use std::time::{Duration, Instant};

use redis_lock_client::{Error, Locks, Request};
use relay::Relay;
use support::{until, Server, Value};
use tokio::time::timeout;

/// Longer than any test.
const LONG: Duration = Duration::from_secs(60);
/// When something is to happen at once, on a busy machine.
const SOON: Duration = Duration::from_secs(10);
const SHORT: Duration = Duration::from_millis(600);

fn lock(port: u16) -> Locks {
    Locks::server(&format!("redis://127.0.0.1:{port}")).unwrap()
}

fn k(server: &Server) -> Request {
    lock(server.port()).key("k").lease(LONG)
}

/// The ms that are left of the hold of `k`; `None`: that owner does not hold it.
fn ttl(server: &Server, owner: &str) -> Option<i64> {
    match server.cmd(&["LOCK.CHECK", "k", owner]) {
        Value::NullBulk => None,
        answer => Some(answer.array()[1].int()),
    }
}

fn is_free(server: &Server) -> bool {
    server.cmd(&["LOCK.INFO", "k"]) == Value::NullBulk
}

fn waiters(server: &Server) -> String {
    server.info_field("redislock", "redislock_waiters")
}

#[tokio::test(flavor = "multi_thread")]
async fn lock_is_held_until_released_and_each_grant_has_a_larger_fence() {
    let server = Server::start();
    let first = k(&server).acquire(SOON).await.unwrap();
    assert!(matches!(k(&server).try_acquire().await, Err(Error::NotAcquired)));
    assert!(matches!(k(&server).acquire(Duration::from_millis(50)).await, Err(Error::NotAcquired)));
    assert!(ttl(&server, first.owner()).unwrap() > 30_000);
    let fence = first.fence();
    first.release().await.unwrap();
    assert!(is_free(&server));
    let second = k(&server).try_acquire().await.unwrap();
    assert!(second.fence() > fence);
    second.release().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn released_lock_goes_to_who_waits_in_the_server() {
    let server = Server::start();
    let first = k(&server).try_acquire().await.unwrap();
    let request = k(&server);
    let waits = tokio::spawn(async move { request.acquire(LONG).await });
    until("it waits", || waiters(&server) == "1");
    let fence = first.fence();
    first.release().await.unwrap();
    let second = timeout(SOON, waits).await.unwrap().unwrap().unwrap();
    assert!(second.fence() > fence);
    assert!(second.held_until().unwrap() > Instant::now() + LONG / 2, "reckoned from the grant");
    second.release().await.unwrap();
}

/// However many begin at the same time.
#[tokio::test(flavor = "multi_thread")]
async fn short_commands_share_one_connection() {
    let server = Server::start();
    let connections = || server.info_number("stats", "total_connections_received");
    let (before, locks) = (connections(), lock(server.port()));
    let asks = (0..100).map(|n| {
        let request = locks.key(format!("k{n}")).lease(LONG);
        tokio::spawn(async move { request.try_acquire().await })
    });
    for ask in asks.collect::<Vec<_>>() {
        ask.await.unwrap().unwrap().release().await.unwrap();
    }
    assert_eq!(connections(), before + 1);
}

/// The longest times there are overflow nothing.
#[tokio::test(flavor = "multi_thread")]
async fn wait_may_be_without_limit() {
    let server = Server::start();
    for within in [Duration::MAX, Duration::MAX / 2, Duration::from_secs(1 << 50), Duration::from_secs(1 << 40)] {
        let first = k(&server).try_acquire().await.unwrap();
        let request = k(&server);
        let waits = tokio::spawn(async move { request.acquire(within).await });
        until("it waits", || waiters(&server) == "1");
        first.release().await.unwrap();
        timeout(SOON, waits).await.unwrap().unwrap().unwrap().release().await.unwrap();
    }
}

/// A wait shares its connection with nobody: others of the same client are answered meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn wait_holds_up_no_other_request() {
    let server = Server::start();
    let locks = lock(server.port());
    let held = locks.key("k").lease(LONG).try_acquire().await.unwrap();
    let request = locks.key("k").lease(LONG);
    let waits = tokio::spawn(async move { request.acquire(LONG).await.map(|_| ()) });
    until("it waits", || waiters(&server) == "1");
    timeout(SOON, locks.key("other").try_acquire()).await.unwrap().unwrap().release().await.unwrap();
    waits.abort();
    held.release().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn clones_of_a_guard_are_one_hold_that_ends_with_the_last() {
    let server = Server::start();
    let guard = k(&server).try_acquire().await.unwrap();
    let deeper = guard.clone();
    assert_eq!(guard.depth(), 2);
    deeper.release().await.unwrap();
    assert_eq!(guard.depth(), 1);
    assert!(ttl(&server, guard.owner()).is_some());
    guard.release().await.unwrap();
    assert!(is_free(&server));
}

#[tokio::test(flavor = "multi_thread")]
async fn shared_and_counted_holds_keep_their_limits() {
    let server = Server::start();
    let readers = [k(&server).shared().try_acquire().await.unwrap(), k(&server).shared().try_acquire().await.unwrap()];
    assert!(matches!(k(&server).try_acquire().await, Err(Error::NotAcquired)));
    for reader in readers {
        reader.release().await.unwrap();
    }
    let _permits =
        [k(&server).counted(2).try_acquire().await.unwrap(), k(&server).counted(2).try_acquire().await.unwrap()];
    assert!(matches!(k(&server).counted(2).try_acquire().await, Err(Error::NotAcquired)));
}

#[tokio::test(flavor = "multi_thread")]
async fn hold_is_renewed_beyond_its_lease() {
    let server = Server::start();
    let lease = Duration::from_secs(3);
    let guard = k(&server).lease(lease).try_acquire().await.unwrap();
    let renewals = || server.info_field("redislock", "redislock_extensions").parse::<u32>().unwrap();
    while renewals() < 5 {
        assert!(ttl(&server, guard.owner()).is_some());
        tokio::time::sleep(lease / 20).await;
    }
    assert!(guard.held_until().is_some());
    assert!(guard.extend().await.unwrap() > Instant::now());
    guard.release().await.unwrap();
}

/// The server tells by itself, long before the next renewal.
#[tokio::test(flavor = "multi_thread")]
async fn holder_is_told_at_once_when_an_operator_ends_its_hold() {
    let server = Server::start();
    let watched = || server.info_number("stats", "tracking_total_keys") == 1;
    for is_watched in [true, false] {
        let guard = k(&server).try_acquire().await.unwrap();
        if is_watched {
            until("the server watches for it", watched);
        }
        assert_eq!(server.cmd(&["DEL", "k"]), 1);
        timeout(SOON, guard.lost()).await.expect("told before a third of the lease is over");
        assert_eq!(guard.held_until(), None);
        assert!(matches!(guard.extend().await, Err(Error::NotHeld)));
        assert!(matches!(guard.release().await, Err(Error::NotHeld)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn shared_holder_is_told_by_the_next_renewal() {
    let server = Server::start();
    let guard = k(&server).shared().lease(SHORT).try_acquire().await.unwrap();
    let deeper = guard.clone();
    assert_eq!(server.cmd(&["DEL", "k"]), 1);
    timeout(SOON, guard.lost()).await.expect("told by the next renewal");
    assert!(matches!(deeper.release().await, Err(Error::NotHeld)));
    assert!(matches!(guard.extend().await, Err(Error::NotHeld)));
}

#[tokio::test(flavor = "multi_thread")]
async fn extension_moves_the_end_that_all_clones_see() {
    let server = Server::start();
    let guard = k(&server).try_acquire().await.unwrap();
    let (deeper, first) = (guard.clone(), guard.held_until().unwrap());
    let longer = guard.extend().await.unwrap();
    assert!(longer > first);
    assert_eq!(deeper.held_until(), Some(longer));
    assert!(longer < Instant::now() + LONG - LONG / 100, "clocks may run apart");
}

#[tokio::test(flavor = "multi_thread")]
async fn holder_is_told_when_its_server_is_gone_or_silent() {
    for silence in [Server::kill9, Server::sigstop] {
        let server = Server::start();
        let guard = k(&server).lease(SHORT).try_acquire().await.unwrap();
        let sure = guard.held_until().unwrap();
        silence(&server);
        timeout(SOON, guard.lost()).await.expect("told by the end of its lease");
        assert!(Instant::now() >= sure, "not before");
    }
}

/// The lease may have begun as soon as it was asked for, however late the answer.
#[tokio::test(flavor = "multi_thread")]
async fn hold_is_reckoned_from_before_it_was_asked_for() {
    let server = Server::start();
    let relay = Relay::to(server.port());
    relay.keep_back_one("LOCK.ACQUIRE");
    let request = lock(relay.port()).key("k").lease(LONG);
    let asks = tokio::spawn(async move { request.try_acquire().await });
    until("it is asked for", || relay.kept_back() == 1);
    let asked = Instant::now();
    tokio::time::sleep(Duration::from_millis(200)).await;
    relay.let_go();
    let guard = timeout(SOON, asks).await.unwrap().unwrap().unwrap();
    assert!(guard.held_until().unwrap() <= asked + LONG - LONG / 100);
}

/// The answer to a request is lost; it is sent again, under the same owner, and finds its own hold.
#[tokio::test(flavor = "multi_thread")]
async fn lost_answer_costs_nothing() {
    let server = Server::start();
    for wait in [Duration::ZERO, SOON] {
        let relay = Relay::to(server.port());
        relay.swallow_one_answer_to("LOCK.ACQUIRE");
        let guard = timeout(SOON, lock(relay.port()).key("k").lease(LONG).acquire(wait)).await.unwrap().unwrap();
        assert_eq!(relay.swallowed(), 1);
        assert!(ttl(&server, guard.owner()).is_some());
        relay.swallow_one_answer_to("LOCK.EXTEND");
        let until_first = guard.held_until().unwrap();
        assert!(guard.extend().await.unwrap() > until_first);
        relay.swallow_one_answer_to("LOCK.RELEASE");
        // The second one finds nothing; as it was surely held before, the first one did it.
        guard.release().await.unwrap();
        assert_eq!(relay.swallowed(), 3);
        assert!(is_free(&server));
    }
    assert_eq!(server.info_field("redislock", "redislock_grants_at_once"), "2");
}

#[tokio::test(flavor = "multi_thread")]
async fn waiter_goes_on_after_its_server_restarted() {
    let server = Server::builder().aof().start();
    let held = k(&server).try_acquire().await.unwrap();
    let request = k(&server);
    let waits = tokio::spawn(async move { request.acquire(LONG).await });
    until("it waits", || waiters(&server) == "1");
    server.kill9();
    server.restart();
    let (fence, owner) = (held.fence(), held.owner().to_owned());
    until("it waits again", || waiters(&server) == "1");
    assert_eq!(server.cmd(&["LOCK.RELEASE", "k", &owner]), 1);
    assert!(timeout(SOON, waits).await.unwrap().unwrap().unwrap().fence() > fence);
}

#[tokio::test(flavor = "multi_thread")]
async fn impossible_requests_and_errors_of_the_server_are_told() {
    let server = Server::start();
    for lease in [Duration::ZERO, Duration::from_micros(9999), Duration::from_secs(366 * 24 * 3600), Duration::MAX] {
        assert!(matches!(k(&server).lease(lease).try_acquire().await, Err(Error::Invalid(_))), "{lease:?}");
    }
    for limit in [0, 1_000_001] {
        assert!(matches!(k(&server).counted(limit).try_acquire().await, Err(Error::Invalid(_))), "{limit}");
    }
    server.cmd(&["SET", "k", "x"]);
    match k(&server).acquire(LONG).await.map(|_| ()) {
        Err(Error::Server(error)) => assert_eq!(error.code(), Some("WRONGTYPE")),
        other => panic!("{other:?}"),
    }
}
