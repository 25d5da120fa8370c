//! Distributed locks over the `LOCK.*` commands of the redis-lock module.
//!
//! ```no_run
//! use std::time::Duration;
//! use redis_lock_client::Locks;
//!
//! # async fn example() -> Result<(), redis_lock_client::Error> {
//! let locks = Locks::server("redis://127.0.0.1:6379")?;
//! let guard = locks.key("orders:42").lease(Duration::from_secs(10)).acquire(Duration::from_secs(5)).await?;
//! println!("send this fence with every write: {}", guard.fence());
//! tokio::select! {
//!     () = guard.lost() => println!("another client may hold the lock now: stop"),
//!     () = async { /* the work */ } => {}
//! }
//! guard.release().await
//! # }
//! ```
//!
//! * [`Locks`] are the locks of one server, of the primary that Sentinels name, of a Redis Cluster, or of a quorum of
//!   independent servers.
//! * A [`Request`] names the lock, its lease and its mode: exclusive, shared or counted.
//! * A [`Guard`] is a hold. It is renewed while it lives, reports when it is lost, and is released when dropped.
//! * An [`Error`] says why a lock was not acquired or is no longer held.
//!
//! **The lock puts the work in order; the fence protects the resource.** A process that was suspended, or cut off from
//! the network, can outlive its hold whatever the client does. Pass the fencing token ([`Guard::fence`]) to the
//! resource. The resource remembers the largest one it has seen and rejects smaller ones.
//!
//! Every acquisition has an owner name of its own, so the client can safely send a request again if the reply was lost.
//! A wait has a connection of its own. Dropping the future of [`Request::acquire`] withdraws the request.
//!
//! All futures need a tokio runtime with time and I/O enabled.
//!
//! The feature `tls-rustls` enables `rediss://` URLs (`tokio-rustls-comp` of the redis crate). The program must first
//! install a crypto provider of rustls.

mod backend;
mod discovery;
mod endpoint;
mod error;
mod guard;
mod invalidations;
mod quorum;
mod reply;
mod request;
mod single;
mod spec;
mod sync;
mod withdrawal;

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use backend::Backend;
use discovery::Discovery;
use endpoint::Endpoint;
use quorum::QuorumBackend;
use single::SingleBackend;

pub use error::Error;
pub use guard::Guard;
pub use request::Request;

/// The locks of one deployment, or of a quorum of independent servers.
///
/// Create one value and clone it: clones share their connections. Nothing connects before the first request.
///
/// URLs are those of the redis crate: `redis://[user:password@]host[:port][/db]`, and `rediss://` with the feature
/// `tls-rustls`.
#[derive(Clone)]
pub struct Locks(Arc<dyn Backend>);

impl Locks {
    /// The locks of one server.
    ///
    /// # Errors
    /// [`Error::Server`] if the URL is invalid.
    pub fn server(url: &str) -> Result<Locks, Error> {
        Ok(Locks::single(Discovery::server(url)?))
    }

    /// The locks of the primary that these Sentinels know by this name. After a failover they are those of the new
    /// primary.
    ///
    /// The client uses no password and database 0 at the primary; see [`Locks::sentinel_with`]. A password in one of
    /// the URLs is that of the Sentinel.
    ///
    /// # Errors
    /// [`Error::Server`] if a URL is invalid, [`Error::Invalid`] if there is no URL.
    pub fn sentinel<'a>(urls: impl IntoIterator<Item = &'a str>, name: &str) -> Result<Locks, Error> {
        Locks::sentinel_with(urls, name, "redis://primary")
    }

    /// The locks of the primary that these Sentinels know by this name, if it needs a password, a database or TLS.
    ///
    /// `primary` is a URL that gives them, for example `redis://user:password@primary/2`. Its host and port are
    /// ignored. A password in one of `urls` is that of the Sentinel.
    ///
    /// # Errors
    /// [`Error::Server`] if a URL is invalid, [`Error::Invalid`] if `urls` is empty.
    pub fn sentinel_with<'a>(
        urls: impl IntoIterator<Item = &'a str>,
        name: &str,
        primary: &str,
    ) -> Result<Locks, Error> {
        Ok(Locks::single(Discovery::sentinel(urls, name, primary)?))
    }

    /// The locks of a Redis Cluster. The URLs name some of its nodes; the client finds the others.
    ///
    /// The client uses the user, the password and the TLS settings of the first URL at every node that it finds.
    ///
    /// # Errors
    /// [`Error::Server`] if a URL is invalid, [`Error::Invalid`] if there is no URL.
    pub fn cluster<'a>(urls: impl IntoIterator<Item = &'a str>) -> Result<Locks, Error> {
        Ok(Locks::single(Discovery::cluster(urls)?))
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
    /// longer than the round trip to the servers. There is no queue: a client that waits tries again after a random
    /// pause of up to 50 ms, so waiters are not served in order.
    ///
    /// # Errors
    /// [`Error::Server`] if a URL is invalid. [`Error::Invalid`] if the number of servers is even or below 3, or if two
    /// URLs name the same server.
    pub fn quorum<'a>(urls: impl IntoIterator<Item = &'a str>) -> Result<Locks, Error> {
        let servers = urls.into_iter().map(Discovery::server).collect::<Result<Vec<_>, _>>()?;
        if servers.len() < 3 || servers.len() % 2 == 0 {
            return Err(Error::Invalid("a quorum needs an odd number of servers, at least 3"));
        }
        // A server that is named twice would have two votes.
        let addresses: HashSet<_> = servers.iter().filter_map(Discovery::server_address).collect();
        if addresses.len() < servers.len() {
            return Err(Error::Invalid("a quorum needs servers that differ"));
        }
        Ok(Locks(Arc::new(QuorumBackend::new(servers.into_iter().map(Endpoint::new)))))
    }

    /// A request for the lock of this name, which is a Redis key and may be any bytes. Nothing is sent yet.
    pub fn key(&self, key: impl Into<Vec<u8>>) -> Request {
        Request::new(Arc::clone(&self.0), key.into())
    }

    fn single(discovery: Discovery) -> Locks {
        Locks(Arc::new(SingleBackend::new(Endpoint::new(discovery))))
    }
}

impl fmt::Debug for Locks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The URLs are left out because they can contain passwords.
        f.debug_struct("Locks").finish_non_exhaustive()
    }
}

/// Compiles the example in the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn public_types_can_be_sent_to_other_threads() {
        fn check<T: Send + Sync + Clone + fmt::Debug + 'static>() {}
        check::<Locks>();
        check::<Request>();
        check::<Guard>();
    }

    #[test]
    fn debug_output_shows_no_password() {
        let url = "redis://user:secret@host";
        let locks = Locks::sentinel_with([url], "locks", url).unwrap();
        let shown = format!("{locks:?} {:?}", locks.key("k"));
        assert!(shown.contains('k') && !shown.contains("secret"), "{shown}");
    }
}
