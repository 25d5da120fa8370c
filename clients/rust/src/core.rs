//! What every part of one client shares.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::chance::Chance;
use crate::clock::Clock;
use crate::identity::Identity;
use crate::stats::Counters;

/// What every part of one client shares.
pub(crate) struct Core {
    pub clock: Clock,
    pub chance: Chance,
    pub identity: Identity,
    pub counters: Counters,
    /// Cancelled when the client is closed.
    pub closed: CancellationToken,
    /// The releases in the background.
    pub withdrawals: TaskTracker,
    /// After how long without a reply a server is looked at more closely.
    pub request_timeout: Duration,
    /// How many waits may have a connection of their own at one time, at each server.
    pub wait_connections: Option<usize>,
}

/// Reports an event of the client. Without the feature `tracing` this does nothing.
macro_rules! trace {
    ($level:ident, $($field:tt)+) => {
        #[cfg(feature = "tracing")]
        tracing::event!(target: "redis_lock_client", tracing::Level::$level, $($field)+);
    };
}
pub(crate) use trace;
