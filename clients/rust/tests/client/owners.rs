//! Names of owners, and owners of several locks.

use std::time::Duration;

use crate::common::{is_free, locks_on, ttl, url, waiters, LONG};
use redis_lock_client::{Error, Locks};
use support::{until, Server};
use tokio::time::timeout;

/// The time limit of what should happen at once, on a busy machine.
const SOON: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn owner_and_connection_lead_to_the_process() {
    let server = Server::start();
    let locks = Locks::builder().label("billing").server(&url(server.port())).unwrap();
    let guard = locks.key("k").lease(LONG).acquire(SOON).await.unwrap();
    let holder = locks.info("k").await.unwrap().unwrap().holders.remove(0);
    assert_eq!(holder.owner, guard.owner());
    let parts: Vec<&str> = holder.owner.split('/').collect();
    assert_eq!((parts[0], parts[2]), ("billing", std::process::id().to_string().as_str()));
    let process = holder.owner.rsplit_once('/').unwrap().0;
    let clients = server.cmd(&["CLIENT", "LIST"]).text();
    assert!(clients.contains(&format!("name={process} ")), "{clients}");
    assert!(matches!(Locks::builder().label("two words").server("redis://a"), Err(Error::Invalid(_))));
}

/// Two owners take two locks in opposite order. One of them is refused, releases, and the other goes on.
#[tokio::test(flavor = "multi_thread")]
async fn deadlock_of_two_owners_is_found() {
    let server = Server::start();
    let locks = locks_on(server.port());
    let (one, other) = (locks.owner(), locks.owner());
    let first = one.key("a").lease(LONG).acquire(SOON).await.unwrap();
    let second = other.key("k").lease(LONG).acquire(SOON).await.unwrap();
    assert_eq!(first.owner(), one.name());
    let request = one.key("k").lease(LONG);
    let waiter = tokio::spawn(async move { request.acquire(Duration::MAX).await });
    until("the first owner waits", || waiters(&server) == 1);
    let refused = timeout(SOON, other.key("a").lease(LONG).acquire(Duration::MAX)).await.expect("found");
    match refused {
        Err(Error::Deadlock(error)) => assert!(error.text().contains(&one.name()[..16]), "{error}"),
        other => panic!("{other:?}"),
    }
    second.release().await.unwrap();
    let both = timeout(SOON, waiter).await.unwrap().unwrap().unwrap();
    assert_eq!(both.owner(), one.name());
    both.release().await.unwrap();
    first.release().await.unwrap();
    server.assert_no_keys();
}

/// An owner that has a lock gets another guard of the same hold, and the hold ends with the last of them.
#[tokio::test(flavor = "multi_thread")]
async fn owner_gets_a_lock_that_it_has_without_asking_again() {
    let server = Server::start();
    let owner = locks_on(server.port()).owner();
    let first = owner.key("k").lease(LONG).acquire(SOON).await.unwrap();
    let second = owner.key("k").acquire(SOON).await.unwrap();
    let third = owner.key("k").shared().try_acquire().await.unwrap();
    assert_eq!((second.fence(), third.fence(), first.depth()), (first.fence(), first.fence(), 3));
    first.release().await.unwrap();
    second.release().await.unwrap();
    assert!(ttl(&server, third.owner()).is_some());
    third.release().await.unwrap();
    assert!(is_free(&server));
    let shared = owner.key("k").shared().lease(LONG).acquire(SOON).await.unwrap();
    assert!(matches!(owner.key("k").acquire(SOON).await, Err(Error::Invalid(_))), "it would wait for itself");
    assert!(matches!(owner.keys(["k", "l"]).acquire(SOON).await, Err(Error::Invalid(_))));
    shared.release().await.unwrap();
}

/// Requests of one owner for one key are dropped, granted and released all the time. The withdrawal of one must not end
/// the hold of the next, which has the same name.
#[tokio::test(flavor = "multi_thread")]
async fn withdrawal_does_not_end_the_next_hold_of_the_same_owner() {
    let server = Server::start();
    let locks = locks_on(server.port());
    let owner = locks.owner();
    for round in 0..200 {
        let rival = if round % 2 == 0 { Some(locks.key("k").lease(LONG).acquire(SOON).await.unwrap()) } else { None };
        let lifetime = Duration::from_micros(rand::random_range(0..2000));
        let dropped = tokio::time::timeout(lifetime, owner.key("k").lease(LONG).acquire(SOON)).await;
        drop(dropped);
        if let Some(rival) = rival {
            rival.release().await.unwrap();
        }
        let guard = timeout(SOON, owner.key("k").lease(LONG).acquire(SOON)).await.unwrap().unwrap();
        tokio::time::sleep(Duration::from_micros(500)).await;
        assert!(ttl(&server, owner.name()).is_some(), "round {round}");
        guard.release().await.unwrap();
    }
    until("nothing is left", || is_free(&server));
}
