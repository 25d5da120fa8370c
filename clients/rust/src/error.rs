//! The errors of this crate.

use redis::{ErrorKind, RedisError};

/// Why a lock was not acquired, or is no longer held.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Other owners held the lock until the time limit.
    #[error("the lock was not acquired in time")]
    NotAcquired,
    /// The hold has ended: its lease expired, or an operator removed it. Another owner may have held the lock since.
    #[error("the lock is no longer held")]
    NotHeld,
    /// Too few servers of a quorum answered in time, or too few could agree on a fence. If most servers answered that
    /// another owner holds the lock, the error is [`Error::NotAcquired`] instead.
    #[error("too few servers of the quorum answered or agreed")]
    NoQuorum,
    /// An argument is out of range; the text says which.
    #[error("{0}")]
    Invalid(&'static str),
    /// The server's error reply, or the reason why the server could not be reached.
    ///
    /// [`code`](redis::RedisError::code) returns the first word of an error reply (`WRONGTYPE`, `NOPERM`, `DEADLOCK`).
    /// [`is_io_error`](redis::RedisError::is_io_error) tells whether the server could not be reached.
    #[error(transparent)]
    Server(#[from] redis::RedisError),
}

/// An error of the kind that a broken connection causes, with this text.
pub(crate) fn io_error(text: &'static str) -> RedisError {
    (ErrorKind::Io, text).into()
}
