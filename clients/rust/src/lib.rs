//! Distributed locks over the `LOCK.*` commands of the redis-lock module.
//!
//! ```no_run
//! use std::time::Duration;
//! use redis_lock_client::Locks;
//!
//! # async fn example() -> Result<(), redis_lock_client::Error> {
//! let locks = Locks::builder().label("billing").server("redis://127.0.0.1:6379")?;
//! let guard = locks.key("orders:42").lease(Duration::from_secs(10)).acquire(Duration::from_secs(5)).await?;
//! println!("send this fence with every write: {}", guard.fence());
//! tokio::select! {
//!     loss = guard.lost() => println!("another client may hold the lock now: stop ({loss:?})"),
//!     () = async { /* the work */ } => {}
//! }
//! guard.release().await
//! # }
//! ```
//!
//! * [`Locks`] are the locks of one server, of the primary that Sentinels name, of a Redis Cluster, or of a quorum of
//!   independent servers. [`Builder`] sets up a client with a label and other settings.
//! * A [`Request`] names the locks, their lease and their mode: exclusive, shared or counted.
//! * A [`Guard`] is a hold. It is renewed while it lives, reports when it is lost, and is released when dropped.
//! * An [`Owner`] takes several locks under one name, so that the server can see deadlocks.
//! * An [`Election`] has one leader and any number of observers.
//! * An [`Error`] says why a lock was not acquired or is no longer held.
//!
//! **The lock puts the work in order; the fence protects the resource.** A process that was suspended, or cut off from
//! the network, can outlive its hold whatever the client does. Pass the fencing token ([`Guard::fence`]) to the
//! resource. The resource remembers the largest one it has seen and rejects smaller ones.
//!
//! Every acquisition has an owner name of its own, so the client can safely send a request again if the reply was lost.
//! Dropping the future of [`Request::acquire`] withdraws the request.
//!
//! All futures need a tokio runtime with time and I/O enabled.
//!
//! # Features
//!
//! * `tls-rustls` enables `rediss://` URLs (`tokio-rustls-comp` of the redis crate). The program must first install a
//!   crypto provider of rustls.
//! * `tracing` reports acquisitions, releases, losses and trouble with servers as events of the `tracing` crate. Their
//!   target is `redis_lock_client`. [`Locks::stats`] counts the same without it.
//! * `memory` adds `MemoryServer`: locks in the memory of this process, for the tests of programs.

mod backend;
mod backoff;
mod builder;
mod chance;
mod claim;
mod client;
mod clock;
mod core;
mod error;
mod fault;
mod guard;
mod hold;
mod identity;
mod info;
mod leader;
mod locks;
#[cfg(feature = "memory")]
mod memory;
mod net;
mod owner;
mod quorum;
mod renewal;
mod reply;
mod request;
mod scope;
mod single;
mod spec;
mod stats;
mod sync;
mod turns;

pub use builder::Builder;
pub use error::{Error, ServerError};
pub use guard::Guard;
pub use hold::Loss;
pub use info::{Filter, Holder, Listed, LockInfo, Waiter};
pub use leader::{Election, Leadership, Observer};
pub use locks::Locks;
#[cfg(feature = "memory")]
pub use memory::Server as MemoryServer;
pub use owner::Owner;
pub use request::Request;
pub use stats::Stats;

/// Compiles the example in the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
