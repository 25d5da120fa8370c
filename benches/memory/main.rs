//! The benchmark of bytes (`make bench`): the memory that locks, holders and waiters take, and the bytes that a change adds
//! to the AOF.
//!
//! * [`growth`]: bytes of a lock at every number of locks, and how long the server stands still while tables grow.
//! * [`holds`] and [`waiters`]: bytes of a hold and of a waiter, beside what the server itself takes.
//! * [`log`]: bytes that a change adds to the AOF.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod aof;
#[path = "../support/mod.rs"]
mod bench;
mod growth;
mod holds;
mod waiters;

use bench::Measurement;

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    /// Measurements that are left out.
    left_out: &'static [&'static str],
    /// Locks taken while tables are watched, beside as many strings.
    locks: usize,
    /// Holders of one lock.
    holders: [usize; 4],
    /// Connections with a session each, and waiters while tables are watched.
    clients: usize,
    /// Clients that wait for one lock, for their memory.
    waiters: &'static [usize],
}

const FULL: Scale = Scale {
    left_out: &[],
    locks: 2_000_000,
    holders: [1, 10, 1000, 10_000],
    clients: 10_000,
    waiters: &[1000, 10_000],
};
const QUICK: Scale =
    Scale { left_out: &["waiters"], locks: 1_200_000, holders: [1, 10, 100, 1000], clients: 1000, waiters: &[1000] };

/// In the order of the report.
const MEASUREMENTS: [(&str, Measurement<Scale>); 4] = [
    ("growth", Measurement::Long(growth::measure)),
    ("holds", Measurement::Long(holds::measure)),
    ("waiters", Measurement::Long(waiters::measure)),
    ("log", Measurement::Plain(aof::measure)),
];

fn main() {
    let scale = if bench::is_quick() { QUICK } else { FULL };
    bench::run("memory", "Memory and log: the bytes that locks take", &MEASUREMENTS, scale, scale.left_out);
}
