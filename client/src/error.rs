//! What can come instead of a lock.

/// Why there is no hold, or no longer one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Others held the lock all the time one was ready to wait.
    #[error("the lock was not acquired in time")]
    NotAcquired,
    /// The hold had ended before: by its lease, or by an operator.
    #[error("the lock is not held any more")]
    NotHeld,
    /// Fewer than most of the servers answered.
    #[error("fewer than most of the servers answered")]
    NoQuorum,
    /// The request makes no sense.
    #[error("{0}")]
    Invalid(&'static str),
    /// What the server said, or why it could not be asked.
    #[error(transparent)]
    Server(#[from] redis::RedisError),
}
