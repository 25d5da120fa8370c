//! What holds the locks, as the rest of the crate sees it: one deployment or a quorum of independent servers.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::runtime::Handle;
use tokio::time::Instant;

use crate::claim::{Claim, Turn};
use crate::clock::Moment;
use crate::core::Core;
use crate::error::Error;
use crate::net::endpoint::{Endpoint, Patience};
use crate::net::events::Events;
use crate::net::link::Link;
use crate::reply::{Checked, Released};
use crate::spec::Spec;

/// A place where locks are acquired, renewed and released.
pub(crate) trait Backend: Send + Sync {
    fn core(&self) -> &Arc<Core>;

    /// What the servers report.
    fn events(&self) -> &Events;

    /// The endpoints: one, or the members of a quorum.
    fn endpoints(&self) -> &[Arc<Endpoint>];

    /// Checks that this kind of deployment has what the request asks for.
    fn check(&self, spec: &Spec) -> Result<(), Error>;

    /// Acquires the lock. If the future fails or is dropped, a task of the runtime releases whatever the request got or
    /// may still get.
    fn acquire(self: Arc<Self>, wanted: Wanted) -> BoxFuture<'static, Result<Grant, Error>>;

    /// Starts the lease of the hold anew. Gives up at `deadline`. Returns the moment up to which the hold is surely
    /// valid.
    fn extend<'a>(&'a self, held: &'a Held, lease: Duration, deadline: Instant)
        -> BoxFuture<'a, Result<Moment, Error>>;

    /// Asks whether the owner still has the hold. Under CLIENT TRACKING the server then reports the next change.
    fn look<'a>(&'a self, held: &'a Held, deadline: Instant) -> BoxFuture<'a, Result<Checked, Error>>;

    /// Releases the hold. With `cool` the lock then cools for so long.
    fn release<'a>(&'a self, held: &'a Held, cool: Option<Duration>) -> BoxFuture<'a, Result<Released, Error>>;

    /// Turns the exclusive hold into a shared one.
    fn downgrade<'a>(&'a self, held: &'a Held) -> BoxFuture<'a, Result<Released, Error>>;
}

/// What an acquisition is about.
pub(crate) struct Wanted {
    pub spec: Spec,
    pub owner: String,
    pub patience: Patience,
    pub runtime: Handle,
    /// Keeps other requests of the same owner away, if the owner is used for several.
    pub turn: Option<Arc<Turn>>,
}

/// Who holds what.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub spec: Spec,
    pub owner: String,
    /// One for each key.
    pub fences: Vec<u64>,
}

impl Held {
    /// The fence of the first key.
    pub fn fence(&self) -> u64 {
        self.fences.first().copied().unwrap_or(0)
    }
}

/// A hold that a backend has granted.
pub(crate) struct Grant {
    pub held: Held,
    /// The hold is surely valid up to this moment.
    pub valid_until: Moment,
    /// Release the hold when they are dropped.
    pub claims: Vec<Arc<Claim>>,
    /// The connection with which the hold ends, if it is a session.
    pub session: Option<Arc<Link>>,
}
