//! What holds the locks, as the rest of the crate sees it: one deployment or a quorum of independent servers.

use std::sync::Arc;
use std::time::Instant;

use futures_util::future::BoxFuture;
use tokio::runtime::Handle;

use crate::error::Error;
use crate::reply::Released;
use crate::spec::Spec;

/// A place where locks are acquired, renewed and released.
pub(crate) trait Backend: Send + Sync {
    /// Acquires the lock. Waits up to `deadline`; `None` is without limit.
    ///
    /// If the future fails or is dropped, a task of `runtime` releases whatever the request got or may still get.
    fn acquire<'a>(
        self: Arc<Self>,
        spec: &'a Spec,
        deadline: Option<Instant>,
        runtime: &'a Handle,
    ) -> BoxFuture<'a, Result<Grant, Error>>;

    /// Starts the lease of the hold anew. Returns the moment up to which the hold is surely valid.
    fn extend<'a>(&'a self, spec: &'a Spec, grant: &'a Grant) -> BoxFuture<'a, Result<Instant, Error>>;

    /// Releases the hold of this owner, and cancels its waits.
    fn release<'a>(&'a self, spec: &'a Spec, owner: &'a str) -> BoxFuture<'a, Result<Released, Error>>;

    /// Returns when a server reports that the hold of this owner may have ended. Never returns if no server can report
    /// it.
    fn watch<'a>(&'a self, spec: &'a Spec, owner: &'a str) -> BoxFuture<'a, ()>;
}

/// A hold that a backend has granted.
#[derive(Clone, Debug)]
pub(crate) struct Grant {
    pub owner: String,
    pub fence: u64,
    /// The hold is surely valid up to this moment of this process's monotonic clock.
    pub valid_until: Instant,
}

/// A new owner name, which nobody else has: 128 random bits as hexadecimal digits.
pub(crate) fn generate_owner() -> String {
    format!("{:032x}", rand::random::<u128>())
}
