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
//! * A [`Guard`] is the hold. It is renewed while it lives, tells at once when it is lost, and is released when dropped.
//!
//! **The lock orders the work, the fence protects the resource**: a process that was stopped, or cut off, can outlive its
//! hold whatever the client does. Hand [`Guard::fence`] to the resource, and let it remember the largest one it saw and
//! reject smaller ones.
//!
//! Each acquisition has an owner of its own, so that a request whose reply was lost is simply sent again. A wait has a
//! connection of its own; dropping the future of [`Request::acquire`] withdraws it.

mod back;
mod error;
mod guard;
mod node;
mod quorum;
mod request;

use std::sync::Arc;

use back::Back;
use node::Node;

pub use error::Error;
pub use guard::Guard;
pub use request::{Mode, Request};

/// Where locks are asked for.
pub trait Locks: private::Sealed {
    /// The lock of that name, to be asked for: a Redis key.
    fn key(&self, key: impl Into<Vec<u8>>) -> Request;
}

/// Locks of one server, of the primary that Sentinels name, or of a cluster.
#[derive(Clone)]
pub struct Lock(Arc<Back>);

impl Lock {
    /// Locks of one server: `redis://[user:password@]host:port[/db]`.
    pub fn server(url: &str) -> Result<Lock, Error> {
        Ok(Lock(Arc::new(Back::One(Box::new(Node::server(url)?)))))
    }

    /// Locks of the primary that these Sentinels know by this name. The primary is asked without a password, in database 0.
    pub fn sentinel<'a>(urls: impl IntoIterator<Item = &'a str>, name: &str) -> Result<Lock, Error> {
        Ok(Lock(Arc::new(Back::One(Box::new(Node::sentinel(urls, name)?)))))
    }

    /// Locks of a Redis Cluster, of which some nodes are given. Other nodes are asked with the first one's user and password.
    pub fn cluster<'a>(urls: impl IntoIterator<Item = &'a str>) -> Result<Lock, Error> {
        Ok(Lock(Arc::new(Back::One(Box::new(Node::cluster(urls)?)))))
    }
}

impl Locks for Lock {
    fn key(&self, key: impl Into<Vec<u8>>) -> Request {
        Request::new(Arc::clone(&self.0), key.into())
    }
}

/// Locks that most of n independent servers agree on (Redlock), with fences that rise from one grant to the next.
///
/// It survives the loss of a minority of them. A server that may have lost data must stay out for the longest lease in use,
/// or run with `appendonly yes` and `appendfsync always`: else a majority could be found twice.
#[derive(Clone)]
pub struct Quorum(Arc<Back>);

impl Quorum {
    /// Locks of these servers, which know nothing of one another: an odd number of them, at least 3.
    pub fn servers<'a>(urls: impl IntoIterator<Item = &'a str>) -> Result<Quorum, Error> {
        let nodes = urls.into_iter().map(Node::server).collect::<Result<Vec<_>, _>>()?;
        if nodes.len() < 3 || nodes.len() % 2 == 0 {
            return Err(Error::Invalid("a quorum needs an odd number of servers, at least 3"));
        }
        Ok(Quorum(Arc::new(Back::Many(nodes))))
    }
}

impl Locks for Quorum {
    fn key(&self, key: impl Into<Vec<u8>>) -> Request {
        Request::new(Arc::clone(&self.0), key.into())
    }
}

mod private {
    /// Only this crate's types are asked for locks.
    pub trait Sealed {}
    impl Sealed for super::Lock {}
    impl Sealed for super::Quorum {}
}
