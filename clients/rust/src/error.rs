//! What can come instead of a lock.

/// Why there is no hold, or no longer one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Others held the lock all the time one was ready to wait.
    #[error("the lock was not acquired in time")]
    NotAcquired,
    /// The hold has ended: by its lease, or by an operator. Others may have held the lock meanwhile.
    #[error("the lock is not held any more")]
    NotHeld,
    /// Too few servers of a quorum answered in time, or agreed on a fence. (That most are held by others is
    /// [`Error::NotAcquired`].)
    #[error("too few of the servers answered")]
    NoQuorum,
    /// The request makes no sense: what is wrong with it.
    #[error("{0}")]
    Invalid(&'static str),
    /// What the server said, or why it could not be asked. [`code`](redis::RedisError::code) gives the first word of what it
    /// said (`WRONGTYPE`, `NOPERM`, `DEADLOCK`), [`is_io_error`](redis::RedisError::is_io_error) whether it could not be asked.
    #[error(transparent)]
    Server(#[from] redis::RedisError),
}
