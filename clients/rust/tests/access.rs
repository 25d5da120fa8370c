//! Passwords, users with few rights, databases.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::time::Duration;

use redis_lock_client::{Error, Locks};
use support::{until, Server, PRIMARY};
use tokio::time::timeout;

/// Longer than any test.
const LONG: Duration = Duration::from_secs(60);
/// When something is to happen at once, on a busy machine.
const SOON: Duration = Duration::from_secs(15);
const SHORT: Duration = Duration::from_secs(3);

/// A server that wants a password, and its own connection has given it.
fn with_password() -> Server {
    let server = Server::builder().config("requirepass secret").start();
    assert_eq!(server.cmd(&["AUTH", "secret"]), "OK");
    server
}

/// Gives the user `app` these rights, and the right to the key `k`.
fn allow(server: &Server, rights: &str) {
    let rule = ["ACL", "SETUSER", "app", "reset", "on", ">word", "~k"].into_iter().chain(rights.split(' '));
    assert_eq!(server.cmd(&rule.collect::<Vec<_>>()), "OK");
}

fn app(server: &Server) -> Locks {
    Locks::server(&format!("redis://app:word@127.0.0.1:{}", server.port())).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_or_missing_password_is_told_at_once() {
    let server = with_password();
    for (before_host, code) in [("", "NOAUTH"), (":wrong@", "WRONGPASS"), ("app:wrong@", "WRONGPASS")] {
        let lock = Locks::server(&format!("redis://{before_host}127.0.0.1:{}", server.port())).unwrap();
        let refused = timeout(SOON, lock.key("k").acquire(LONG)).await.expect("not tried again");
        match refused.map(|_| ()) {
            Err(Error::Server(error)) => {
                assert_eq!(error.code(), Some(code), "{error}");
            }
            other => panic!("{other:?}"),
        }
    }
    let lock = Locks::server(&format!("redis://:secret@127.0.0.1:{}/3", server.port())).unwrap();
    let guard = lock.key("k").acquire(SOON).await.unwrap();
    assert!(server.info_field("keyspace", "db3").starts_with("keys=1"), "in the database that the URL names");
    guard.release().await.unwrap();
}

/// The rights that the README names are enough.
#[tokio::test(flavor = "multi_thread")]
async fn user_needs_the_rights_to_four_commands_and_to_tracking() {
    let server = with_password();
    allow(&server, "+lock.acquire +lock.release +lock.extend +lock.check +client|tracking");
    let held = app(&server).key("k").lease(LONG).try_acquire().await.unwrap();
    held.extend().await.unwrap();
    let request = app(&server).key("k").lease(LONG);
    let waits = tokio::spawn(async move { request.acquire(LONG).await });
    until("it waits", || server.info_number("redislock", "redislock_waiters") == 1);
    held.release().await.unwrap();
    let next = waits.await.unwrap().unwrap();
    until("the server watches for it", || server.info_number("stats", "tracking_total_keys") == 1);
    assert_eq!(server.cmd(&["DEL", "k"]), 1);
    timeout(SOON, next.lost()).await.expect("told by the server");
    match app(&server).key("another").try_acquire().await.map(|_| ()) {
        Err(Error::Server(error)) => assert_eq!(error.code(), Some("NOPERM")),
        other => panic!("{other:?}"),
    }
}

/// Who may not look hears of a loss from the next renewal.
#[tokio::test(flavor = "multi_thread")]
async fn user_without_the_right_to_tracking_gets_by() {
    for rights in ["+lock.acquire +lock.release +lock.extend", "+lock.acquire +lock.release +lock.extend +lock.check"] {
        let server = with_password();
        allow(&server, rights);
        let guard = app(&server).key("k").lease(SHORT).try_acquire().await.unwrap();
        until("it is renewed", || server.info_number("redislock", "redislock_extensions") > 2);
        assert!(guard.held_until().is_some());
        assert_eq!(server.cmd(&["DEL", "k"]), 1);
        timeout(SOON, guard.lost()).await.expect("told by the next renewal");
    }
}

/// Sentinel and primary have passwords of their own; the first Sentinel named is gone.
#[tokio::test(flavor = "multi_thread")]
async fn primary_is_asked_with_its_own_user_and_in_its_database() {
    let server = with_password();
    allow(&server, "+lock.acquire +lock.release +lock.extend +lock.check +client|tracking +select");
    let sentinel = Server::builder()
        .sentinel_of(PRIMARY, server.port(), 2000)
        .config(format!("sentinel auth-pass {PRIMARY} secret"))
        .config("requirepass watchword")
        .start();
    let gone = Server::start();
    gone.kill9();
    let urls = [
        format!("redis://:watchword@127.0.0.1:{}", gone.port()),
        format!("redis://:watchword@127.0.0.1:{}", sentinel.port()),
    ];
    let urls = || urls.iter().map(String::as_str);
    let locks = Locks::sentinel_with(urls(), PRIMARY, "redis://app:word@primary/2").unwrap();
    let guard = timeout(SOON, locks.key("k").lease(LONG).acquire(SOON)).await.unwrap().unwrap();
    assert!(server.info_field("keyspace", "db2").starts_with("keys=1"));
    guard.release().await.unwrap();
    let without = Locks::sentinel(urls(), PRIMARY).unwrap();
    assert!(matches!(timeout(SOON, without.key("k").acquire(LONG)).await.unwrap(), Err(Error::Server(_))));
}
