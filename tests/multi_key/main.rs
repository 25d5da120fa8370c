//! LOCK.MACQUIRE, LOCK.MRELEASE and LOCK.MEXTEND: several locks, all or none. The table of how a request for several locks can
//! end stands in docs/commands.md; each of its rows has a test in `endings.rs` or `cluster.rs`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod cluster;
mod endings;
mod replication;
mod replies;
mod waiting;

use support::{say, Server, Value};

/// The fences of a grant.
#[track_caller]
fn fences(answer: &Value) -> Vec<i64> {
    answer.array().iter().map(Value::int).collect()
}

/// The first owner that holds the lock; an empty text if there is none, or no lock.
fn holder(server: &Server, key: &str) -> String {
    let info = say(server, &format!("LOCK.INFO {key}"));
    match info.is_nil() || info.is_err() || info.get("holders").array().is_empty() {
        true => String::new(),
        false => info.get("holders").array()[0].get("owner").text(),
    }
}

/// Panics unless this owner, and nobody else, holds all these locks.
#[track_caller]
fn assert_holds(server: &Server, keys: &str, owner: &str) {
    for key in keys.split(' ') {
        assert_eq!(holder(server, key), owner, "{key}");
    }
}

/// The end of a test: no lock is held, nobody waits.
#[track_caller]
fn assert_all_over(server: &Server) {
    for key in ["a", "b", "c", "d"] {
        assert!(say(server, &format!("LOCK.INFO {key}")).is_nil(), "{key}");
    }
    assert_eq!(server.info_number("redislock", "redislock_waiters"), 0);
    server.assert_clean();
}
