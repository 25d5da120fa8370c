//! Distributed locks over the `LOCK.*` commands of the redis-lock module.
//!
//! ```no_run
//! use std::time::Duration;
//! use redis_lock_client::{Lock, Locks};
//!
//! # async fn example() -> Result<(), redis_lock_client::Error> {
//! let locks = Lock::server("redis://127.0.0.1:6379")?;
//! let guard = locks.key("orders:42").lease(Duration::from_secs(10)).acquire(Duration::from_secs(5)).await?;
//! println!("write it down with fence {}", guard.fence());
//! tokio::select! {
//!     () = guard.lost() => println!("somebody else may hold it now: stop"),
//!     () = async { /* the work */ } => {}
//! }
//! guard.release().await
//! # }
//! ```
//!
//! * [`Lock`] asks one server, the primary that Sentinels name, or a Redis Cluster. [`Quorum`] asks n independent servers
//!   and needs most of them. Both are [`Locks`].
//! * A [`Request`] says what is asked: the lease, shared or counted; then it is tried or waited for.
//! * A [`Guard`] is the hold. It is renewed while it lives, tells when it is lost, and is released when dropped.
//! * [`Error`] says why there is no hold.
//!
//! **The lock orders the work, the fence protects the resource**: a process that was stopped, or cut off, can outlive its
//! hold whatever the client does. Hand [`Guard::fence`] to the resource, and let it remember the largest one it saw and
//! reject smaller ones.
//!
//! Each acquisition has an owner of its own, so that a request whose reply was lost is simply sent again. A wait has a
//! connection of its own; dropping the future of [`Request::acquire`] withdraws it.
//!
//! All futures need a tokio runtime with time and I/O enabled.
//!
//! Feature `tls-rustls`: `rediss://` URLs (the redis crate's `tokio-rustls-comp`). The program installs a crypto provider of
//! rustls first.

mod back;
mod changes;
mod error;
mod find;
mod guard;
mod node;
mod quorum;
mod request;

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use back::Back;
use find::Finder;
use node::Node;

pub use error::Error;
pub use guard::Guard;
pub use request::Request;

/// Where locks are asked for: a [`Lock`] or a [`Quorum`].
pub trait Locks: private::Sealed {
    /// The lock of that name, to be asked for: a Redis key, which may be any bytes.
    fn key(&self, key: impl Into<Vec<u8>>) -> Request;
}

/// Locks of one server, of the primary that Sentinels name, or of a cluster.
///
/// Make one and clone it: clones share their connections. Nothing is connected before the first request. URLs are those of the
/// redis crate: `redis://[user:password@]host[:port][/db]`, `rediss://` with the feature `tls-rustls`.
#[derive(Clone)]
pub struct Lock(Arc<Back>);

impl Lock {
    /// Locks of one server.
    ///
    /// # Errors
    /// [`Error::Server`] if that is no URL of a server.
    pub fn server(url: &str) -> Result<Lock, Error> {
        Ok(Lock::of(Finder::server(url)?))
    }

    /// Locks of the primary that these Sentinels know by this name; after a failover of the new one. It is asked without a
    /// password, in database 0. Passwords in the URLs are the Sentinels' own.
    ///
    /// # Errors
    /// [`Error::Server`] if one is no URL of a server, [`Error::Invalid`] if there is none.
    pub fn sentinel<'a>(urls: impl IntoIterator<Item = &'a str>, name: &str) -> Result<Lock, Error> {
        Lock::sentinel_with(urls, name, "redis://primary")
    }

    /// The same for a primary that wants a password, a database or TLS: as in `primary`, the URL of a server, of which host and
    /// port are ignored: `redis://user:password@primary/2`.
    ///
    /// # Errors
    /// As of [`Lock::sentinel`].
    pub fn sentinel_with<'a>(
        urls: impl IntoIterator<Item = &'a str>,
        name: &str,
        primary: &str,
    ) -> Result<Lock, Error> {
        Ok(Lock::of(Finder::sentinel(urls, name, primary)?))
    }

    /// Locks of a Redis Cluster, of which some nodes are given. Other nodes are asked as the first of them: the same user,
    /// password and TLS.
    ///
    /// # Errors
    /// [`Error::Server`] if one is no URL of a server, [`Error::Invalid`] if there is none.
    pub fn cluster<'a>(urls: impl IntoIterator<Item = &'a str>) -> Result<Lock, Error> {
        Ok(Lock::of(Finder::cluster(urls)?))
    }

    fn of(finder: Finder) -> Lock {
        Lock(Arc::new(Back::One(Box::new(Node::new(finder)))))
    }
}

impl Locks for Lock {
    fn key(&self, key: impl Into<Vec<u8>>) -> Request {
        Request::new(Arc::clone(&self.0), key.into())
    }
}

impl fmt::Debug for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the URLs: there are passwords in them.
        f.debug_struct("Lock").finish_non_exhaustive()
    }
}

/// Locks that most of n independent servers agree on (Redlock), with fences that rise from one grant to the next.
///
/// It survives the loss of a minority of them. A server that may have lost data must stay out for the longest lease in use,
/// or run with `appendonly yes` and `appendfsync always`: else a majority could be found twice.
///
/// A server has a tenth of the lease to answer, 20 to 500 ms: the lease should be much longer than the way to the servers.
/// Nobody stands in a line: who waits asks again after a random pause of up to 50 ms, so the order is that of chance.
#[derive(Clone)]
pub struct Quorum(Arc<Back>);

impl Quorum {
    /// Locks of these servers, which know nothing of one another: an odd number of them, at least 3, each named once.
    ///
    /// # Errors
    /// [`Error::Server`] if one is no URL of a server, [`Error::Invalid`] for another number of them or one that is named twice.
    pub fn servers<'a>(urls: impl IntoIterator<Item = &'a str>) -> Result<Quorum, Error> {
        let finders = urls.into_iter().map(Finder::server).collect::<Result<Vec<_>, _>>()?;
        if finders.len() < 3 || finders.len() % 2 == 0 {
            return Err(Error::Invalid("a quorum needs an odd number of servers, at least 3"));
        }
        // It would have two votes.
        let places: HashSet<_> = finders.iter().filter_map(Finder::named).collect();
        if places.len() < finders.len() {
            return Err(Error::Invalid("a quorum needs servers that differ"));
        }
        Ok(Quorum(Arc::new(Back::Many(finders.into_iter().map(|finder| Arc::new(Node::new(finder))).collect()))))
    }
}

impl Locks for Quorum {
    fn key(&self, key: impl Into<Vec<u8>>) -> Request {
        Request::new(Arc::clone(&self.0), key.into())
    }
}

impl fmt::Debug for Quorum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Quorum").finish_non_exhaustive()
    }
}

mod private {
    /// Only this crate's types are asked for locks.
    pub trait Sealed {}
    impl Sealed for super::Lock {}
    impl Sealed for super::Quorum {}
}

/// The example in the README compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_may_go_from_thread_to_thread() {
        fn check<T: Send + Sync + Clone + fmt::Debug + 'static>() {}
        check::<Lock>();
        check::<Quorum>();
        check::<Request>();
        check::<Guard>();
    }

    #[test]
    fn passwords_are_not_shown() {
        let url = "redis://user:secret@host";
        let lock = Lock::sentinel_with([url], "locks", url).unwrap();
        let shown = format!("{lock:?} {:?}", lock.key("k"));
        assert!(shown.contains('k') && !shown.contains("secret"), "{shown}");
    }
}
