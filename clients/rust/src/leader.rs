//! Leader election: one of all candidates leads, and observers are told who does.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use crate::client::Client;
use crate::error::Error;
use crate::guard::Guard;
use crate::hold::Loss;
use crate::info;
use crate::net::events::Listener;
use crate::request::Request;

/// After how long an observer looks again although no change was reported: a server that vanished reports nothing.
const LOOK_AGAIN: Duration = Duration::from_secs(10);
/// The longest pause before an observer looks again after it has lost its connection.
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// An election. [`Locks::election`](crate::Locks::election) creates it.
///
/// The leader is who holds the lock of the election's name exclusively. Candidates wait in the server's queue, so that
/// the next one leads as soon as the leader resigns or dies.
#[derive(Clone)]
pub struct Election {
    client: Arc<Client>,
    key: Vec<u8>,
    request: Request,
}

impl Election {
    pub(crate) fn new(client: &Arc<Client>, key: Vec<u8>) -> Election {
        let request = Request::new(client, vec![key.clone()], None);
        Election { client: Arc::clone(client), key, request }
    }

    /// Sets how long the others wait if the leader's machine dies: 10 ms to 365 days. The default is 30 s.
    pub fn lease(mut self, lease: Duration) -> Election {
        self.request = self.request.lease(lease);
        self
    }

    /// Ends the leadership also when the leader's connection closes, so that the others need not wait for the lease if
    /// its process dies. Not over a quorum.
    pub fn session(mut self) -> Election {
        self.request = self.request.session();
        self
    }

    /// Waits until this candidate leads, up to `within`; [`Duration::MAX`] waits without limit. Dropping the future
    /// withdraws the candidate.
    ///
    /// # Errors
    /// As [`Request::acquire`].
    pub async fn elect(&self, within: Duration) -> Result<Leadership, Error> {
        Ok(Leadership(self.request.acquire(within).await?))
    }

    /// Observes who leads.
    pub fn observe(&self) -> Observer {
        Observer {
            client: Arc::clone(&self.client),
            key: self.key.clone(),
            listener: self.client.backend.events().listen(),
            seen: None,
        }
    }
}

impl fmt::Debug for Election {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Election").field("request", &self.request).finish_non_exhaustive()
    }
}

/// The leadership that a candidate has won. It lasts until it is resigned, dropped or lost.
#[derive(Debug)]
#[must_use = "dropping the leadership resigns it"]
pub struct Leadership(Guard);

impl Leadership {
    /// The fencing token of this term: larger than that of every earlier term. Whoever takes orders from leaders should
    /// reject those of smaller ones.
    pub fn fence(&self) -> u64 {
        self.0.fence()
    }

    /// The name of the leader, which observers see.
    pub fn owner(&self) -> &str {
        self.0.owner()
    }

    /// Whether this candidate surely leads; false in doubt.
    pub fn is_leader(&self) -> bool {
        self.0.is_held()
    }

    /// Returns when the leadership is lost, and says why; never, if it is resigned first.
    pub fn lost(&self) -> impl Future<Output = Loss> + Send + 'static {
        self.0.lost()
    }

    /// Hands the leadership over to the next candidate.
    ///
    /// # Errors
    /// [`Error::NotHeld`] if it had been lost before; else as [`Guard::release`].
    pub async fn resign(self) -> Result<(), Error> {
        self.0.release().await
    }
}

/// Tells who leads, and each change. The server reports changes by itself, so there is no polling.
pub struct Observer {
    client: Arc<Client>,
    key: Vec<u8>,
    listener: Listener,
    /// The leader that was returned last.
    seen: Option<Option<String>>,
}

impl Observer {
    /// Returns the leader's name when it differs from the one that was returned last; `None` if nobody leads. The first
    /// call returns at once. If the leader changes faster than this is called, changes in between are not told.
    ///
    /// The future can be dropped and the method called again.
    ///
    /// # Errors
    /// The server's error, for example if the user may not run LOCK.INFO. A server that cannot be reached is tried
    /// again without limit.
    pub async fn changed(&mut self) -> Result<Option<String>, Error> {
        loop {
            let pause = self.client.core().chance.up_to(PAUSE_MAX);
            match info::info(&self.client, &self.key).await {
                Ok(info) => {
                    let holders = info.filter(|info| info.mode == "exclusive").map(|info| info.holders);
                    let leader = holders.and_then(|holders| holders.into_iter().next()).map(|holder| holder.owner);
                    if self.seen.as_ref() != Some(&leader) {
                        self.seen = Some(leader.clone());
                        return Ok(leader);
                    }
                }
                Err(Error::Unreachable(_) | Error::NoQuorum) => {
                    sleep(pause).await;
                    continue;
                }
                Err(error) => return Err(error),
            }
            tokio::select! {
                biased;
                is_reported = self.listener.changed(&self.key) => {
                    if !is_reported {
                        sleep(pause).await;
                    }
                }
                () = sleep(LOOK_AGAIN) => {}
            }
        }
    }
}

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Observer").field("seen", &self.seen).finish_non_exhaustive()
    }
}
