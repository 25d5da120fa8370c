//! The benchmark of hand-offs (`make bench`): how long the next waiter waits for its grant after a release, beside BLPOP,
//! in queues of every length, and after a holder that goes without a word. Both sides of a comparison are measured in short
//! rounds by turns.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "../support/mod.rs"]
mod bench;
mod direct;
mod queue;
mod silent;

use bench::Measurement;

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    /// Rounds of hand-offs.
    rounds: usize,
    /// Hand-offs of one kind in a round.
    handoffs: usize,
    /// How many clients wait in the queue when one of them is served.
    queued: &'static [usize],
    /// Rounds of hand-offs in such a queue.
    queue_rounds: usize,
    /// How many leases run out, and how many processes are killed.
    silent: usize,
}

const FULL: Scale =
    Scale { rounds: 101, handoffs: 400, queued: &[1, 10, 100, 1000, 10_000], queue_rounds: 11, silent: 100 };
const QUICK: Scale = Scale { rounds: 31, handoffs: 150, queued: &[1, 100], queue_rounds: 3, silent: 20 };

/// In the order of the report.
const MEASUREMENTS: [(&str, Measurement<Scale>); 3] = [
    ("direct", Measurement::Plain(direct::measure)),
    ("queue", Measurement::Long(queue::measure)),
    ("silent", Measurement::Plain(silent::measure)),
];

fn main() {
    let scale = if bench::is_quick() { QUICK } else { FULL };
    bench::run("handoff", "Hand-offs: how long the next waiter waits", &MEASUREMENTS, scale, &[]);
}
