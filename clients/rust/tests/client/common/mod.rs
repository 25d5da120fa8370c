//! What several test files share: requests, and what a server says about the lock `k`.

// Each test file uses only a part of it.
#![allow(dead_code)]

pub mod quorum;
pub mod relay;

use std::time::{Duration, Instant};

use redis_lock_client::{Error, Guard, Locks, Request};
use support::{Server, Value};

/// Longer than any test.
pub const LONG: Duration = Duration::from_secs(60);

pub fn url(port: u16) -> String {
    format!("redis://127.0.0.1:{port}")
}

/// The locks of the server, or of the relay, on this port. The client shares its connections with no other.
pub fn locks_on(port: u16) -> Locks {
    Locks::server(&url(port)).unwrap()
}

/// A request for the lock `k` with a lease longer than any test.
pub fn request_on(port: u16) -> Request {
    locks_on(port).key("k").lease(LONG)
}

pub fn is_free(server: &Server) -> bool {
    server.cmd(&["LOCK.INFO", "k"]) == Value::NullBulk
}

/// The number of clients that wait in queues of the server.
pub fn waiters(server: &Server) -> i64 {
    server.info_number("redislock", "redislock_waiters")
}

/// How many milliseconds this owner still holds `k`; `None` if it does not hold it.
pub fn ttl(server: &Server, owner: &str) -> Option<i64> {
    match server.cmd(&["LOCK.CHECK", "k", owner]) {
        Value::NullBulk => None,
        reply => Some(reply.array()[1].int()),
    }
}

/// The moment up to which the hold is surely valid, as this process sees it.
pub fn ends_at(guard: &Guard) -> Instant {
    Instant::now() + guard.remaining()
}

/// The code of the server's error reply.
pub fn code<T>(outcome: Result<T, Error>) -> String {
    match outcome.map(|_| ()) {
        Err(error) => {
            error.server_error().unwrap_or_else(|| panic!("not an error of a server: {error:?}")).code().into()
        }
        Ok(()) => panic!("no error"),
    }
}
