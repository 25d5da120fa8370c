//! Black-box test support: real redis-server processes and raw sockets.
//!
//! A package of its own: the tests and benchmarks of the module and those of the client use it. Nothing here sleeps for luck: [`until`] and
//! [`until_some`] poll a condition that the server itself reports, and give up with a name for what did not happen.
//!
//! | file | owns |
//! |---|---|
//! | `server.rs`, `builder.rs` | one server: its directory, port, log and life |
//! | `inspect.rs` | what a test asks a server about itself: INFO, waiters, digest, AOF, replication |
//! | `clock.rs`, `clock.c` | a wall clock that is wrong, or set while servers run |
//! | `sentinel.rs` | a primary, replicas and the Sentinels that watch them |
//! | `network.rs` | a network that can be cut |
//! | `relay.rs`, `command.rs` | a relay before a server that injects faults, and the commands that it reads |
//! | `many_clients.rs` | thousands of clients, and the limit of open files |
//! | `load.rs` | clients that take a lock again and again |
//! | `cluster.rs` | several servers that are a Redis Cluster |
//! | `cluster_client.rs`, `cluster_load.rs` | clients that follow redirects; many of them with several locks |
//! | `history.rs`, `modes.rs` | whether what clients saw could be so; the same with shared holds |
//! | `pair.rs`, `persistence_modes.rs` | a primary with its replica; the ways to keep data over a restart |
//! | `process.rs` | child processes that die with us, and ports nobody else picks |
//! | `module.rs` | building the `.so` |
//! | `locks.rs` | held, waited for, given up: what tests do on the way to what they try |
//! | `client.rs`, `value.rs` | the wire |
//! | `chance.rs` | chance that a seed replays |
//! | `skip.rs` | what a server cannot do: the one way to leave a test out |
//!
//! Environment: `REDIS_SERVER` (binary, or a wrapper that `exec`s one), `REDIS_LOCK_MODULE`, `REDIS_LOCK_FAILPOINT_MODULE`
//! (a built `.so`, nothing is built then), `REDIS_LOCK_PATIENCE` (multiplies every deadline; for valgrind),
//! `REDIS_LOCK_END_IN_ORDER` (servers get SIGTERM before they are killed, so that leaks are looked for),
//! `REDIS_LOCK_CLIENTS` (how many clients tests of overload connect), `REDIS_LOCK_KEEP` (server directories stay),
//! `REDIS_LOCK_SKIPS` (a file that collects which tests were skipped).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod builder;
mod chance;
mod client;
mod clock;
mod cluster;
mod cluster_client;
mod cluster_load;
mod command;
mod history;
mod inspect;
mod load;
mod locks;
mod many_clients;
mod modes;
mod module;
mod network;
mod pair;
mod persistence_modes;
mod process;
mod relay;
mod sentinel;
mod server;
mod skip;
mod value;

pub use builder::ServerBuilder;
pub use chance::Chance;
pub use client::{Client, Received};
pub use clock::{clocks_can_be_wrong, MachineSleep, WallClock};
pub use cluster::{key_in_slot, Cluster};
pub use cluster_client::{Answer, ClusterClient};
pub use cluster_load::ClusterLoad;
pub use history::{falls, judge, terms, Grant, Judgement};
pub use inspect::{aof_bytes, aof_commands, assert_both_clean, assert_same, digest, said, until_synced, Version};
pub use load::{Load, LoadEnd};
pub use locks::{
    acquire, assert_all_over, assert_nothing_unread, bound, exec, held, holders, let_it_catch_up, mode_and_holders,
    mode_and_limits, release, release_all, run, say, wait, waiter, waiter_in,
};
pub use many_clients::{can_open, client_count, raise_open_files, Waiters};
pub use modes::{judge_modes, Hold, Mode};
pub use module::{caller_module_path, faulty_module_path, floor_module_path, module_path, root};
pub use network::Link;
pub use pair::Pair;
pub use persistence_modes::{persistence_modes, restart_keeping};
pub use process::{signal, spawn, state as process_state, Port};
pub use relay::{Fault, Relay, Way};
pub use sentinel::{Watched, PRIMARY};
pub use server::{use_program, Server};
pub use skip::skip;
pub use value::{parse_value, Value};

use std::fmt::Display;
use std::time::{Duration, Instant};

/// How long [`until`] waits before it calls the condition failed.
pub const UNTIL: Duration = Duration::from_secs(10);

/// The pause between two looks at a condition.
const PAUSE: Duration = Duration::from_millis(2);

/// A deadline as this machine needs it: `limit` times `REDIS_LOCK_PATIENCE` (default 1).
pub fn patience(limit: Duration) -> Duration {
    let factor = std::env::var("REDIS_LOCK_PATIENCE").ok().and_then(|text| text.parse::<u32>().ok()).unwrap_or(1);
    limit * factor.max(1)
}

/// Polls `condition` until it is true; panics with `what` after 10 s.
#[track_caller]
pub fn until(what: impl Display, mut condition: impl FnMut() -> bool) {
    until_some(what, || condition().then_some(()));
}

/// Polls `look` until it finds something and returns that; panics with `what` after 10 s.
#[track_caller]
pub fn until_some<T>(what: impl Display, look: impl FnMut() -> Option<T>) -> T {
    match poll(UNTIL, look) {
        Some(found) => found,
        None => panic!("did not happen within {:?}: {what}", patience(UNTIL)),
    }
}

/// Polls `look` until it finds something or `limit` (times the patience) has passed. Looks at least once, and once
/// more after the limit, so that a stopped test process does not blame the server.
pub fn poll<T>(limit: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + patience(limit);
    loop {
        let late = Instant::now() >= end;
        if let Some(found) = look() {
            return Some(found);
        }
        if late {
            return None;
        }
        std::thread::sleep(PAUSE);
    }
}

/// Whether `owner` holds `key`, asked by `LOCK.EXTEND key owner`. NOTE: a yes renews the lease to the length it was
/// last given, so never ask this of a hold whose end the test waits for.
#[track_caller]
pub fn holds(client: &mut Client, key: impl AsRef<[u8]>, owner: impl AsRef<[u8]>) -> bool {
    client.cmd(&[b"LOCK.EXTEND", key.as_ref(), owner.as_ref()]).int() == 1
}

/// One command argument out of text, bytes or a number; see [`args`].
pub trait Arg {
    /// The bytes that go over the wire.
    fn arg(&self) -> Vec<u8>;
}

macro_rules! arg_from {
    ($convert:expr; $($kind:ty),+) => {$(
        impl Arg for $kind {
            fn arg(&self) -> Vec<u8> {
                let convert: fn(&$kind) -> Vec<u8> = $convert;
                convert(self)
            }
        }
    )+};
}
arg_from!(|text| text.as_bytes().to_vec(); str, String);
arg_from!(|bytes| bytes.to_vec(); [u8], Vec<u8>);
arg_from!(|number| number.to_string().into_bytes(); i32, i64, u16, u32, u64, usize);

impl<const N: usize> Arg for [u8; N] {
    fn arg(&self) -> Vec<u8> {
        self.to_vec()
    }
}

impl<T: Arg + ?Sized> Arg for &T {
    fn arg(&self) -> Vec<u8> {
        (**self).arg()
    }
}

/// A command of mixed arguments: `c.cmd(&args!["LOCK.ACQUIRE", key, owner, "PX", 500])`. Text, bytes and integers.
#[macro_export]
macro_rules! args {
    ($($arg:expr),+ $(,)?) => { [$($crate::Arg::arg(&$arg)),+] };
}
