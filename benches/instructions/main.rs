//! The benchmark of instructions (`make bench`): how many the server executes for a pair of lock commands, beside the
//! recipes that locks replace, and that the number hardly grows with other locks, holders and waiters.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "../support/mod.rs"]
mod bench;
mod holds;
mod others;
mod pairs;
mod queue;

use bench::Measurement;

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    /// Measurements that are left out.
    left_out: &'static [&'static str],
    /// How the pairs of commands are sent.
    ways: &'static [pairs::Way],
    /// Pairs of the shorter of two runs; the longer one has three times as many.
    pairs: usize,
    /// How often an instruction count is taken.
    counts: usize,
    /// How many other locks are held.
    locks: [usize; 4],
    /// How many other clients wait.
    waiters: [usize; 4],
    /// How many clients wait in the queue that others join and leave.
    queued: &'static [usize],
    /// Which requests wait in those queues.
    kinds: &'static [queue::Kind],
    /// Joins, or leaves, of the shorter of two runs; the longer one has three times as many.
    steps: usize,
}

const FULL: Scale = Scale {
    left_out: &[],
    ways: &pairs::Way::ALL,
    pairs: 4000,
    counts: 3,
    locks: [0, 1, 1000, 100_000],
    waiters: [0, 1, 1000, 5000],
    queued: &[100, 1000, 10_000],
    kinds: &queue::ALL,
    steps: 400,
};
const QUICK: Scale = Scale {
    left_out: &["holds", "others"],
    ways: &[pairs::Way::Pipelined],
    pairs: 1500,
    counts: 1,
    locks: [0, 1, 100, 10_000],
    waiters: [0, 1, 30, 1000],
    queued: &[10, 1000],
    kinds: &[queue::Kind::Exclusive],
    steps: 100,
};

/// In the order of the report.
const MEASUREMENTS: [(&str, Measurement<Scale>); 4] = [
    ("pairs", Measurement::Counted(pairs::measure)),
    ("holds", Measurement::Counted(holds::measure)),
    ("others", Measurement::Counted(others::measure)),
    ("queue", Measurement::Counted(queue::measure)),
];

fn main() {
    let scale = if bench::is_quick() { QUICK } else { FULL };
    bench::run(
        "instructions",
        "Instructions: what lock commands cost the server",
        &MEASUREMENTS,
        scale,
        scale.left_out,
    );
}
