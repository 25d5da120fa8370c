//! Passwords, users with few permissions, and databases.

use std::time::Duration;

use crate::common::{code, LONG};
use redis_lock_client::{Error, Locks};
use support::{until, Server, PRIMARY};
use tokio::time::timeout;

/// The time limit of what should happen at once, on a busy machine.
const SOON: Duration = Duration::from_secs(15);
const SHORT: Duration = Duration::from_secs(3);

/// Starts a server that requires a password. The connection of the test has already authenticated.
fn start_with_password() -> Server {
    let server = Server::builder().config("requirepass secret").start();
    assert_eq!(server.cmd(&["AUTH", "secret"]), "OK");
    server
}

/// Gives the user `app` these permissions, and access to the key `k`.
fn allow(server: &Server, permissions: &str) {
    let rule = ["ACL", "SETUSER", "app", "reset", "on", ">word", "~k"].into_iter().chain(permissions.split(' '));
    assert_eq!(server.cmd(&rule.collect::<Vec<_>>()), "OK");
}

/// The locks as the user `app` sees them.
fn locks_of_app(server: &Server) -> Locks {
    Locks::server(&format!("redis://app:word@127.0.0.1:{}", server.port())).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_or_missing_password_is_reported_at_once() {
    let server = start_with_password();
    for (before_host, expected) in [("", "NOAUTH"), (":wrong@", "WRONGPASS"), ("app:wrong@", "WRONGPASS")] {
        let locks = Locks::server(&format!("redis://{before_host}127.0.0.1:{}", server.port())).unwrap();
        let refused = timeout(SOON, locks.key("k").acquire(LONG)).await.expect("not tried again");
        assert!(matches!(&refused, Err(Error::NoPermission(error)) if error.text().contains(expected)), "{refused:?}");
        assert_eq!(code(refused), expected);
    }
    let locks = Locks::server(&format!("redis://:secret@127.0.0.1:{}/3", server.port())).unwrap();
    let guard = locks.key("k").acquire(SOON).await.unwrap();
    assert!(server.info_field("keyspace", "db3").starts_with("keys=1"), "in the database that the URL names");
    guard.release().await.unwrap();
}

/// The permissions that the README lists are sufficient.
#[tokio::test(flavor = "multi_thread")]
async fn user_needs_four_lock_commands_and_client_tracking() {
    let server = start_with_password();
    allow(&server, "+lock.acquire +lock.release +lock.extend +lock.check +client|tracking");
    let held = locks_of_app(&server).key("k").lease(LONG).try_acquire().await.unwrap();
    held.extend().await.unwrap();
    let request = locks_of_app(&server).key("k").lease(LONG);
    let waiter = tokio::spawn(async move { request.acquire(LONG).await });
    until("the client waits", || server.info_number("redislock", "redislock_waiters") == 1);
    held.release().await.unwrap();
    let next = waiter.await.unwrap().unwrap();
    until("the server tracks the key", || server.info_number("stats", "tracking_total_keys") == 1);
    assert_eq!(server.cmd(&["DEL", "k"]), 1);
    timeout(SOON, next.lost()).await.expect("reported by the server");
    assert_eq!(code(locks_of_app(&server).key("another").try_acquire().await), "NOPERM");
}

/// A user who may not watch a lock learns of a loss from the next renewal.
#[tokio::test(flavor = "multi_thread")]
async fn user_without_client_tracking_learns_of_a_loss_from_the_next_renewal() {
    for permissions in
        ["+lock.acquire +lock.release +lock.extend", "+lock.acquire +lock.release +lock.extend +lock.check"]
    {
        let server = start_with_password();
        allow(&server, permissions);
        let guard = locks_of_app(&server).key("k").lease(SHORT).try_acquire().await.unwrap();
        until("the hold is renewed", || server.info_number("redislock", "redislock_extensions") > 2);
        assert!(guard.is_held());
        assert_eq!(server.cmd(&["DEL", "k"]), 1);
        timeout(SOON, guard.lost()).await.expect("reported by the next renewal");
    }
}

/// Sentinel and primary have different passwords, and the first Sentinel is dead.
#[tokio::test(flavor = "multi_thread")]
async fn primary_has_its_own_user_password_and_database() {
    let server = start_with_password();
    allow(&server, "+lock.acquire +lock.release +lock.extend +lock.check +client|tracking +select");
    let sentinel = Server::builder()
        .sentinel_of(PRIMARY, server.port(), 2000)
        .config(format!("sentinel auth-pass {PRIMARY} secret"))
        .config("requirepass watchword")
        .start();
    let dead = Server::start();
    dead.kill9();
    let urls = [
        format!("redis://:watchword@127.0.0.1:{}", dead.port()),
        format!("redis://:watchword@127.0.0.1:{}", sentinel.port()),
    ];
    let urls = || urls.iter().map(String::as_str);
    let locks = Locks::sentinel_with(urls(), PRIMARY, "redis://app:word@primary/2").unwrap();
    let guard = timeout(SOON, locks.key("k").lease(LONG).acquire(SOON)).await.unwrap().unwrap();
    assert!(server.info_field("keyspace", "db2").starts_with("keys=1"));
    guard.release().await.unwrap();
    let without_password = Locks::sentinel(urls(), PRIMARY).unwrap();
    assert!(matches!(
        timeout(SOON, without_password.key("k").acquire(LONG)).await.unwrap(),
        Err(Error::NoPermission(_))
    ));
}
