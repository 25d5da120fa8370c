//! How a client is set up.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::backend::Backend;
use crate::chance::Chance;
use crate::client::Client;
use crate::clock::Clock;
use crate::core::Core;
use crate::error::Error;
use crate::identity::Identity;
use crate::locks::Locks;
use crate::net::address::{address_of, parse_url};
use crate::net::directory::Directory;
use crate::net::endpoint::Endpoint;
use crate::net::events::Events;
use crate::quorum::QuorumBackend;
use crate::single::SingleBackend;
use crate::stats::Counters;

/// The default of [`Builder::request_timeout`].
const REQUEST_TIMEOUT: Duration = Duration::from_secs(1);

/// Sets up a client. [`Locks::builder`] creates it.
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it is told where the locks are"]
pub struct Builder {
    label: Option<String>,
    request_timeout: Duration,
    wait_connections: Option<usize>,
    share_waits: bool,
    #[cfg(feature = "memory")]
    seed: Option<u64>,
}

impl Builder {
    pub(crate) fn new() -> Builder {
        Builder {
            label: None,
            request_timeout: REQUEST_TIMEOUT,
            wait_connections: None,
            share_waits: false,
            #[cfg(feature = "memory")]
            seed: None,
        }
    }

    /// The first part of every owner name, for example the name of the application: 1 to 512 printable ASCII characters
    /// without spaces. Owners are then called `label/host/pid/random`, so that an operator who finds a stuck lock finds
    /// its process.
    pub fn label(mut self, label: impl Into<String>) -> Builder {
        self.label = Some(label.into());
        self
    }

    /// After how long without a reply the client looks whether a server hangs: 10 ms or more. The default is 1 s.
    ///
    /// This is no limit for commands, because a stall may pass. A request that does not wait for the lock, and a
    /// release, give up after twice this time.
    pub fn request_timeout(mut self, timeout: Duration) -> Builder {
        self.request_timeout = timeout;
        self
    }

    /// How many waits may have a connection of their own at the same time, at each server: 1 or more. Further waits
    /// stand behind these. Without this setting every wait has one. Beside them the client opens one connection to each
    /// server, and for a moment a second one while a server does not answer.
    pub fn max_wait_connections(mut self, count: usize) -> Builder {
        self.wait_connections = Some(count);
        self
    }

    /// Lets waits of this client for one key stand behind one another, so that a hot lock costs one connection and one
    /// place in the server's queue. The order is fair within this client.
    pub fn share_waits(mut self, share: bool) -> Builder {
        self.share_waits = share;
        self
    }

    /// Draws owner names and pauses from this seed, so that a simulation can be repeated. Two clients with one seed would
    /// have the same owner names.
    #[cfg(feature = "memory")]
    pub fn seed(mut self, seed: u64) -> Builder {
        self.seed = Some(seed);
        self
    }

    /// The locks of one server.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the URL or a setting is invalid.
    pub fn server(self, url: &str) -> Result<Locks, Error> {
        let (core, events) = self.parts()?;
        let directory = Directory::server(&core, &events, parse_url(url)?);
        Ok(self.single(&core, events, directory))
    }

    /// The locks of the primary that these Sentinels know by this name; see [`Locks::sentinel`].
    ///
    /// # Errors
    /// [`Error::Invalid`] if a URL or a setting is invalid, or if there is no URL.
    pub fn sentinel<'a>(self, urls: impl IntoIterator<Item = &'a str>, name: &str) -> Result<Locks, Error> {
        self.sentinel_with(urls, name, "redis://primary")
    }

    /// The locks of the primary that these Sentinels know by this name; see [`Locks::sentinel_with`].
    ///
    /// # Errors
    /// [`Error::Invalid`] if a URL or a setting is invalid, or if `urls` is empty.
    pub fn sentinel_with<'a>(
        self,
        urls: impl IntoIterator<Item = &'a str>,
        name: &str,
        primary: &str,
    ) -> Result<Locks, Error> {
        let (core, events) = self.parts()?;
        let sentinels = urls.into_iter().map(parse_url).collect::<Result<Vec<_>, _>>()?;
        if sentinels.is_empty() {
            return Err(Error::Invalid("a Sentinel must be named"));
        }
        let directory = Directory::sentinel(&core, &events, sentinels, name, parse_url(primary)?);
        Ok(self.single(&core, events, directory))
    }

    /// The locks of a Redis Cluster; see [`Locks::cluster`].
    ///
    /// # Errors
    /// [`Error::Invalid`] if a URL or a setting is invalid, or if there is no URL.
    pub fn cluster<'a>(self, urls: impl IntoIterator<Item = &'a str>) -> Result<Locks, Error> {
        let (core, events) = self.parts()?;
        let seeds = urls.into_iter().map(parse_url).collect::<Result<Vec<_>, _>>()?;
        let template = seeds.first().cloned().ok_or(Error::Invalid("a node of the cluster must be named"))?;
        let directory = Directory::cluster(&core, &events, seeds, template);
        Ok(self.single(&core, events, directory))
    }

    /// The locks of a quorum; see [`Locks::quorum`].
    ///
    /// # Errors
    /// [`Error::Invalid`] if a URL or a setting is invalid, if the number of servers is even or below 3, or if two URLs
    /// name the same server.
    pub fn quorum<'a>(self, urls: impl IntoIterator<Item = &'a str>) -> Result<Locks, Error> {
        let (core, events) = self.parts()?;
        let servers = urls.into_iter().map(parse_url).collect::<Result<Vec<_>, _>>()?;
        if servers.len() < 3 || servers.len() % 2 == 0 {
            return Err(Error::Invalid("a quorum needs an odd number of servers, at least 3"));
        }
        // A server that is named twice would have two votes.
        let addresses: HashSet<_> = servers.iter().map(address_of).collect();
        if addresses.len() < servers.len() {
            return Err(Error::Invalid("a quorum needs servers that differ"));
        }
        let endpoints = servers
            .into_iter()
            .map(|server| Endpoint::new(&core, events.clone(), Directory::server(&core, &events, server)));
        let backend = QuorumBackend::new(&core, &events, endpoints.collect());
        Ok(Locks::new(Client::new(Arc::new(backend), self.share_waits)))
    }

    /// Locks in the memory of this process, for tests: no server is needed. Clones of the result share the locks.
    ///
    /// Time is that of the tokio runtime, so that a test can pause it (`tokio::time::pause`).
    ///
    /// # Errors
    /// [`Error::Invalid`] if a setting is invalid.
    #[cfg(feature = "memory")]
    pub fn memory(self, server: &crate::MemoryServer) -> Result<Locks, Error> {
        let (core, events) = self.parts_with(server.clock())?;
        let directory = Directory::memory(&core, &events, server.clone());
        Ok(self.single(&core, events, directory))
    }

    fn single(self, core: &Arc<Core>, events: Events, directory: Directory) -> Locks {
        let backend: Arc<dyn Backend> = Arc::new(SingleBackend::new(Endpoint::new(core, events, directory)));
        Locks::new(Client::new(backend, self.share_waits))
    }

    fn parts(&self) -> Result<(Arc<Core>, Events), Error> {
        self.parts_with(Clock::Machine)
    }

    fn parts_with(&self, clock: Clock) -> Result<(Arc<Core>, Events), Error> {
        if self.request_timeout < Duration::from_millis(10) {
            return Err(Error::Invalid("a request timeout must be 10 ms or more"));
        }
        if self.wait_connections == Some(0) {
            return Err(Error::Invalid("waits need at least one connection"));
        }
        let core = Core {
            clock,
            chance: self.chance(),
            identity: Identity::new(self.label.as_deref())?,
            counters: Counters::default(),
            closed: CancellationToken::new(),
            withdrawals: TaskTracker::new(),
            request_timeout: self.request_timeout,
            wait_connections: self.wait_connections,
        };
        Ok((Arc::new(core), Events::new()))
    }

    fn chance(&self) -> Chance {
        #[cfg(feature = "memory")]
        if let Some(seed) = self.seed {
            return Chance::with_seed(seed);
        }
        Chance::new()
    }
}

/// How a client is created. Each function is one of [`Builder`] with the default settings.
impl Locks {
    /// Sets up a client with a label or other settings.
    pub fn builder() -> Builder {
        Builder::new()
    }

    /// The locks of one server.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the URL is invalid.
    pub fn server(url: &str) -> Result<Locks, Error> {
        Locks::builder().server(url)
    }

    /// The locks of the primary that these Sentinels know by this name. After a failover they are those of the new
    /// primary.
    ///
    /// The client uses no password and database 0 at the primary; see [`Locks::sentinel_with`]. A password in one of
    /// the URLs is that of the Sentinel.
    ///
    /// # Errors
    /// [`Error::Invalid`] if a URL is invalid, or if there is none.
    pub fn sentinel<'a>(urls: impl IntoIterator<Item = &'a str>, name: &str) -> Result<Locks, Error> {
        Locks::builder().sentinel(urls, name)
    }

    /// The locks of the primary that these Sentinels know by this name, if it needs a password, a database or TLS.
    ///
    /// `primary` is a URL that gives them, for example `redis://user:password@primary/2`. Its host and port are
    /// ignored. A password in one of `urls` is that of the Sentinel.
    ///
    /// # Errors
    /// [`Error::Invalid`] if a URL is invalid, or if `urls` is empty.
    pub fn sentinel_with<'a>(
        urls: impl IntoIterator<Item = &'a str>,
        name: &str,
        primary: &str,
    ) -> Result<Locks, Error> {
        Locks::builder().sentinel_with(urls, name, primary)
    }

    /// The locks of a Redis Cluster. The URLs name some of its nodes; the client finds the others.
    ///
    /// The client uses the user, the password and the TLS settings of the first URL at every node that it finds.
    ///
    /// # Errors
    /// [`Error::Invalid`] if a URL is invalid, or if there is none.
    pub fn cluster<'a>(urls: impl IntoIterator<Item = &'a str>) -> Result<Locks, Error> {
        Locks::builder().cluster(urls)
    }

    /// The locks of a quorum (Redlock): a majority of independent servers must grant a lock, and fences rise with every
    /// grant.
    ///
    /// The URLs name an odd number of servers, at least 3, each once. The servers must not replicate one another. The
    /// locks survive the loss of a minority of them. A server that may have lost data must stay out for the longest
    /// lease in use, as it does by itself with the setting `redislock.start-quarantine`, or run with `appendonly yes`
    /// and `appendfsync always`. Otherwise two majorities could grant the same lock.
    ///
    /// A server has a tenth of the lease to answer, but at least 20 ms and at most 500 ms. The lease should be much
    /// longer than the round trip to the servers. Requests that wait stand in the queue of one of the servers; they
    /// begin anew after a second, so the order is not strict.
    ///
    /// # Errors
    /// [`Error::Invalid`] if a URL is invalid, if the number of servers is even or below 3, or if two URLs name the
    /// same server.
    pub fn quorum<'a>(urls: impl IntoIterator<Item = &'a str>) -> Result<Locks, Error> {
        Locks::builder().quorum(urls)
    }
}
