//! The client as a program sees it.

use std::fmt;
use std::sync::Arc;

use crate::client::Client;
use crate::error::Error;
use crate::info::{self, Filter, Listed, LockInfo};
use crate::leader::Election;
use crate::owner::Owner;
use crate::request::Request;
use crate::stats::Stats;

/// The locks of one deployment, or of a quorum of independent servers.
///
/// Create one value and clone it: clones share their connections. Nothing connects before the first request.
///
/// URLs are those of the redis crate: `redis://[user:password@]host[:port][/db]`, and `rediss://` with the feature
/// `tls-rustls`.
#[derive(Clone)]
pub struct Locks(Arc<Client>);

impl Locks {
    pub(crate) fn new(client: Arc<Client>) -> Locks {
        Locks(client)
    }

    /// A request for the lock of this name, which is a Redis key and may be any bytes. Nothing is sent yet.
    pub fn key(&self, key: impl Into<Vec<u8>>) -> Request {
        Request::new(&self.0, vec![key.into()], None)
    }

    /// A request for several locks, 1 to 64, all of them in one step or none. In a cluster their keys must be in one
    /// slot: give them the same hash tag. Not over a quorum.
    pub fn keys<K: Into<Vec<u8>>>(&self, keys: impl IntoIterator<Item = K>) -> Request {
        Request::new(&self.0, keys.into_iter().map(Into::into).collect(), None)
    }

    /// A new owner for several locks, so that the server can see deadlocks.
    pub fn owner(&self) -> Owner {
        Owner::new(&self.0)
    }

    /// An election under this name: one of all candidates leads, and anybody can observe who does.
    pub fn election(&self, key: impl Into<Vec<u8>>) -> Election {
        Election::new(&self.0, key.into())
    }

    /// Who holds the lock and who waits for it; `None` if it is free and nobody waits. A quorum is asked at the first
    /// server that answers.
    ///
    /// # Errors
    /// The server's error, or [`Error::Unreachable`].
    pub async fn info(&self, key: impl AsRef<[u8]>) -> Result<Option<LockInfo>, Error> {
        info::info(&self.0, key.as_ref()).await
    }

    /// All locks that pass the filter, at all nodes of a cluster. A lock that comes or goes meanwhile may be listed or
    /// not.
    ///
    /// # Errors
    /// The server's error, or [`Error::Unreachable`]. [`Error::Invalid`] over a quorum, whose servers list different
    /// locks.
    pub async fn list(&self, filter: &Filter) -> Result<Vec<Listed>, Error> {
        info::list(&self.0, filter).await
    }

    /// Ends every acquisition under way with [`Error::Closed`], and refuses later ones. Waits for what is released in the
    /// background, such as dropped guards, for at most twice the
    /// [request timeout](crate::Builder::request_timeout).
    ///
    /// Call it before the runtime ends. Holds whose guards are alive stay, and are renewed: release them first.
    pub async fn close(&self) {
        self.0.close().await;
    }

    /// What this client has done so far.
    pub fn stats(&self) -> Stats {
        self.0.core().counters.snapshot()
    }
}

impl fmt::Debug for Locks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The URLs are left out because they can contain passwords.
        f.debug_struct("Locks").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn public_types_can_be_sent_to_other_threads() {
        fn check<T: Send + Sync + Clone + fmt::Debug + 'static>() {}
        check::<Locks>();
        check::<Request>();
        check::<crate::Guard>();
        check::<Owner>();
        check::<Election>();
        check::<Error>();
    }

    #[test]
    fn debug_output_shows_no_password() {
        let url = "redis://user:secret@host";
        let locks = Locks::sentinel_with([url], "locks", url).unwrap();
        let shown = format!("{locks:?} {:?}", locks.key("k"));
        assert!(shown.contains('k') && !shown.contains("secret"), "{shown}");
    }
}
