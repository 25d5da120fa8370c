//! Owners: several locks under one name, so that the server can see deadlocks.

use std::fmt;
use std::sync::Arc;

use crate::client::Client;
use crate::request::Request;
use crate::scope::Scope;

/// One owner of several locks. [`Locks::owner`](crate::Locks::owner) creates it.
///
/// Take all locks of one piece of work from one owner. If two owners then wait for each other's locks, the server sees
/// it, and refuses one of the waits with [`Error::Deadlock`](crate::Error::Deadlock). With an owner of its own for each
/// lock, both would wait for ever.
///
/// A lock that the owner already holds is not requested again: [`Request::acquire`] returns a clone of its guard.
/// Clones of this value are the same owner.
#[derive(Clone)]
pub struct Owner {
    client: Arc<Client>,
    scope: Arc<Scope>,
}

impl Owner {
    pub(crate) fn new(client: &Arc<Client>) -> Owner {
        let name = client.core().identity.new_owner(&client.core().chance);
        Owner { client: Arc::clone(client), scope: Arc::new(Scope::new(name)) }
    }

    /// The name of this owner, as `LOCK.INFO` shows it.
    pub fn name(&self) -> &str {
        self.scope.name()
    }

    /// A request of this owner for the lock of this name.
    pub fn key(&self, key: impl Into<Vec<u8>>) -> Request {
        Request::new(&self.client, vec![key.into()], Some(Arc::clone(&self.scope)))
    }

    /// A request of this owner for several locks, all or none.
    pub fn keys<K: Into<Vec<u8>>>(&self, keys: impl IntoIterator<Item = K>) -> Request {
        Request::new(&self.client, keys.into_iter().map(Into::into).collect(), Some(Arc::clone(&self.scope)))
    }
}

impl fmt::Debug for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Owner").field("name", &self.scope.name()).finish_non_exhaustive()
    }
}
