//! Requests: which lock is asked for, in which mode, and for how long.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::backend::Backend;
use crate::error::Error;
use crate::guard::Guard;
use crate::spec::{Mode, Spec};

/// A request for one lock. It can be used any number of times; each use is an acquisition with an owner of its own.
#[derive(Clone)]
#[must_use = "a request does nothing until `acquire` or `try_acquire`"]
pub struct Request {
    backend: Arc<dyn Backend>,
    spec: Spec,
}

impl Request {
    pub(crate) fn new(backend: Arc<dyn Backend>, key: Vec<u8>) -> Request {
        Request { backend, spec: Spec::new(key) }
    }

    /// Sets the lease: 10 ms to 365 days, in whole milliseconds. The default is 30 s.
    ///
    /// The guard renews the hold after every third of the lease. So the lease is how long others wait if this process
    /// dies.
    pub fn lease(mut self, lease: Duration) -> Request {
        self.spec.lease = Duration::from_millis(u64::try_from(lease.as_millis()).unwrap_or(u64::MAX));
        self
    }

    /// Asks for a shared hold. Any number of owners can share the lock, but never together with an exclusive holder.
    pub fn shared(mut self) -> Request {
        self.spec.mode = Mode::Shared;
        self
    }

    /// Asks for one of `limit` permits (1 to 1 000 000), so that the lock is a semaphore. Every request for the lock
    /// must name the same limit.
    ///
    /// **Over a quorum** at most `limit` owners hold the lock together, but some permits stay unused. Every holder has
    /// a majority of the servers, and two majorities can differ: if each of 3 servers let in 2 owners, 3 owners could
    /// have two servers each. Therefore each server lets in fewer than `limit`: about two thirds of it with 3 servers,
    /// three fifths with 5. That many owners always get in, and up to `limit` can. (With 3 servers a limit of 2 gives 1
    /// permit at each server, 3 gives 2, and 10 gives 7.)
    pub fn counted(mut self, limit: u32) -> Request {
        self.spec.mode = Mode::Counted(limit);
        self
    }

    /// Asks once, without waiting for the lock. Gives up after 2 s if the server does not answer.
    ///
    /// # Errors
    /// [`Error::NotAcquired`] if others hold the lock. [`Error::NoQuorum`] if too few servers of a quorum answer or
    /// agree. [`Error::Invalid`] if the lease or the limit is out of range. [`Error::Server`] if the server replies
    /// with an error or cannot be reached.
    pub async fn try_acquire(&self) -> Result<Guard, Error> {
        self.acquire(Duration::ZERO).await
    }

    /// Acquires the lock, and waits for it up to `within`; [`Duration::MAX`] waits without limit.
    ///
    /// One deployment keeps waiters in a FIFO queue inside the server. Over a quorum the client asks again and again.
    /// After a failover the wait goes on at the new primary, and after a slot has moved at its new node, at the end of
    /// the queue there. A server that cannot be reached is tried again until the time is up.
    ///
    /// Dropping the future withdraws the request. Whatever it got or may still get is released in the background.
    ///
    /// # Errors
    /// [`Error::NotAcquired`] if others held the lock all that time. [`Error::NoQuorum`] if too few servers of a quorum
    /// answered or agreed. [`Error::Invalid`] if the lease or the limit is out of range, or if there is no tokio
    /// runtime. [`Error::Server`] if the server replied with an error, or could not be reached in time.
    pub async fn acquire(&self, within: Duration) -> Result<Guard, Error> {
        self.spec.check_ranges()?;
        let runtime =
            tokio::runtime::Handle::try_current().map_err(|_| Error::Invalid("locks need a tokio runtime"))?;
        // A deadline that `Instant` cannot represent is no limit.
        let deadline = Instant::now().checked_add(within);
        let grant = Arc::clone(&self.backend).acquire(&self.spec, deadline, &runtime).await?;
        Ok(Guard::new(Arc::clone(&self.backend), self.spec.clone(), grant, runtime))
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Spec { key, lease, mode } = &self.spec;
        let key = String::from_utf8_lossy(key);
        f.debug_struct("Request").field("key", &key).field("lease", lease).field("mode", mode).finish_non_exhaustive()
    }
}
