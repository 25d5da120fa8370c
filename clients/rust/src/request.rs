//! Requests: which locks are asked for, in which mode, and for how long.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::client::Client;
use crate::error::Error;
use crate::guard::Guard;
use crate::scope::Scope;
use crate::spec::{Mode, Spec};

/// How long replicas have to confirm a durable grant.
const CONFIRMATION_TIMEOUT: Duration = Duration::from_secs(1);
/// The longest time for which a lock cools by itself if its holder dies.
const DELAY_MAX: Duration = Duration::from_secs(60 * 60);

/// A request for a lock, or for several. It can be used any number of times; each use is an acquisition with an owner
/// of its own, unless the request comes from an [`Owner`](crate::Owner).
#[derive(Clone)]
#[must_use = "a request does nothing until `acquire` or `try_acquire`"]
pub struct Request {
    client: Arc<Client>,
    spec: Spec,
    owner: Option<Arc<Scope>>,
}

impl Request {
    pub(crate) fn new(client: &Arc<Client>, keys: Vec<Vec<u8>>, owner: Option<Arc<Scope>>) -> Request {
        Request { client: Arc::clone(client), spec: Spec::new(keys), owner }
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
    pub fn counted(self, limit: u32) -> Request {
        self.weighted(limit, 1)
    }

    /// Asks for `weight` of `limit` permits at once, 1 to `limit`. A quorum knows only a weight of 1.
    pub fn weighted(mut self, limit: u32, weight: u32) -> Request {
        self.spec.mode = Mode::Counted { limit, weight };
        self
    }

    /// Ends the hold at the latest this long after its grant, 1 ms to 365 days, however often it is renewed. The guard
    /// then reports a loss.
    pub fn max(mut self, max: Duration) -> Request {
        self.spec.max = Some(max);
        self
    }

    /// Lets the lock cool for this long, 1 ms to an hour, if the exclusive hold ends by its lease, by
    /// [`max`](Request::max) or by its session instead of by a release. Nobody gets the lock while it cools.
    pub fn delay(mut self, delay: Duration) -> Request {
        self.spec.delay = Some(delay);
        self
    }

    /// Ends the hold also when its connection closes, so that others need not wait for the lease if this process dies.
    /// The hold has a connection of its own. Not over a quorum.
    pub fn session(mut self) -> Request {
        self.spec.session = true;
        self
    }

    /// Grants the lock only if so many replicas confirm within a second that they have the grant. Else the lock is
    /// released, and the error is [`Error::NotDurable`]. Not over a quorum.
    pub fn durable(self, replicas: u32) -> Request {
        self.durable_within(replicas, CONFIRMATION_TIMEOUT)
    }

    /// Like [`durable`](Request::durable), with another time for the replicas.
    pub fn durable_within(mut self, replicas: u32, limit: Duration) -> Request {
        self.spec.durable = Some((replicas, limit));
        self
    }

    /// Does not renew the hold in the background: it ends with its lease, unless [`Guard::extend`] renews it.
    pub fn without_renewal(mut self) -> Request {
        self.spec.renew = false;
        self
    }

    /// Asks once, without waiting for the lock. Gives up after twice the
    /// [request timeout](crate::Builder::request_timeout) if the server does not answer.
    ///
    /// # Errors
    /// [`Error::NotAcquired`] if others hold the lock; else as [`Request::acquire`].
    pub async fn try_acquire(&self) -> Result<Guard, Error> {
        self.acquire(Duration::ZERO).await
    }

    /// Acquires the lock, and waits for it up to `within`; [`Duration::MAX`] waits without limit.
    ///
    /// One deployment keeps waiters in a FIFO queue inside the server. After a failover the wait goes on at the new
    /// primary, and after a slot has moved at its new node, at the end of the queue there. A primary that hangs is left
    /// as soon as Sentinel or the cluster names another one. A server that cannot be reached is tried again until the
    /// time is up.
    ///
    /// Dropping the future withdraws the request. Whatever it got or may still get is released in the background.
    ///
    /// # Errors
    /// * [`Error::NotAcquired`] if others held the lock all that time.
    /// * [`Error::Deadlock`] if this owner would wait for an owner that waits for it.
    /// * [`Error::WrongType`], [`Error::NoPermission`], [`Error::TooMany`] or [`Error::Server`] if the server refused
    ///   the request, with its text.
    /// * [`Error::NotDurable`] if too few replicas confirmed a durable grant.
    /// * [`Error::NoQuorum`] if too few servers of a quorum answered or agreed.
    /// * [`Error::Unreachable`] if no server answered in time.
    /// * [`Error::Invalid`] if an argument is out of range, or if there is no tokio runtime.
    pub async fn acquire(&self, within: Duration) -> Result<Guard, Error> {
        match &self.owner {
            Some(owner) => owner.acquire(&self.client, &self.spec, within).await,
            None => self.client.acquire(&self.spec, None, within).await,
        }
    }

    /// Runs a job if it has not run within this period, here or in any other process: a cron job on several machines.
    /// Afterwards the lock stays closed until the period is over, counted from the start of the job. The result is
    /// `None` if the job is running or has run.
    ///
    /// If this process dies during the job, the lock stays closed for the period after the lease, but at most an hour.
    ///
    /// # Errors
    /// As [`Request::acquire`] and [`Guard::release_and_cool`]. [`Error::NotHeld`] means that the job ran, but lost its
    /// lock on the way.
    pub async fn once_per<T>(&self, period: Duration, job: impl AsyncFnOnce(&Guard) -> T) -> Result<Option<T>, Error> {
        let begun = Instant::now();
        let request = self.clone().delay(period.min(DELAY_MAX));
        let guard = match request.try_acquire().await {
            Ok(guard) => guard,
            Err(Error::NotAcquired) => return Ok(None),
            Err(error) => return Err(error),
        };
        let done = job(&guard).await;
        let left = period.saturating_sub(begun.elapsed());
        if left < Duration::from_millis(1) {
            guard.release().await?;
        } else {
            guard.release_and_cool(left).await?;
        }
        Ok(Some(done))
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Spec { keys, lease, mode, .. } = &self.spec;
        let keys: Vec<_> = keys.iter().map(|key| String::from_utf8_lossy(key)).collect();
        f.debug_struct("Request").field("keys", &keys).field("lease", lease).field("mode", mode).finish_non_exhaustive()
    }
}
