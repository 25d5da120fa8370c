//! The second benchmark (`make bench`): what all modes of holding cost, and that nothing of it grows with the number of
//! holders and waiters, but for a logarithm.
//!
//! * [`growth`]: bytes a lock takes at every number of locks, and how long the server stands still while tables grow.
//! * [`memory`] and [`waiting`]: bytes a hold and a waiter take, beside what the server itself takes.
//! * [`line`] and [`pairs`] count instructions: of joining and leaving a line, and of requests that nobody is in the way of.
//! * [`log`]: bytes that a change adds to the AOF.
//! * [`stall`]: how long everybody else waits while thousands are let in, or thrown out, at once.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "../support/mod.rs"]
mod bench;
mod growth;
mod line;
mod log;
mod memory;
mod pairs;
mod stall;
mod waiting;

use bench::callgrind::Callgrind;
use bench::report::Report;
use bench::Measurement;

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    /// Measurements that are not made.
    left_out: &'static [&'static str],
    /// Locks taken while tables are watched, beside as many strings.
    locks: usize,
    /// Holders of one lock.
    holders: [usize; 4],
    /// Clients that wait for one lock, for their memory.
    waiting: &'static [usize],
    /// Clients that wait for one lock, while instructions are counted.
    line: &'static [usize],
    /// What stands in those lines.
    kinds: &'static [line::Kind],
    /// Joins, or leaves, of the shorter of two runs; the longer one has three times as many.
    steps: usize,
    /// Pairs of commands of the shorter of two runs.
    pairs: usize,
    /// How often an instruction count is taken.
    counts: usize,
    /// Clients that are let in or thrown out at once.
    crowd: usize,
    /// How often that is done.
    rounds: usize,
}

const FULL: Scale = Scale {
    left_out: &[],
    locks: 2_000_000,
    holders: [1, 10, 1000, 10_000],
    waiting: &[1000, 10_000],
    line: &[100, 1000, 10_000],
    kinds: &line::ALL,
    steps: 400,
    pairs: 4000,
    counts: 3,
    crowd: 10_000,
    rounds: 5,
};
const QUICK: Scale = Scale {
    left_out: &["waiting", "pairs"],
    locks: 1_200_000,
    holders: [1, 10, 100, 1000],
    waiting: &[1000],
    line: &[10, 1000],
    kinds: &[line::Kind::Exclusive],
    steps: 100,
    pairs: 1000,
    counts: 1,
    crowd: 1000,
    rounds: 3,
};

/// In the order of the report.
const MEASUREMENTS: [(&str, Measurement<Scale>); 7] = [
    ("growth", Measurement::Long(growth::measure)),
    ("memory", Measurement::Long(memory::measure)),
    ("waiting", Measurement::Long(waiting::measure)),
    ("line", Measurement::Counted(line::measure)),
    ("pairs", Measurement::Counted(pairs::measure)),
    ("log", Measurement::Plain(log::measure)),
    ("stall", Measurement::Long(stall::measure)),
];

fn main() {
    let scale = if bench::is_quick() { QUICK } else { FULL };
    // Puts itself between the harness and the server, so it must come before the first server.
    let callgrind = Callgrind::find();
    let mut report = Report::new("part2", "All modes of holding: what they cost", callgrind.as_ref());
    bench::measure(&MEASUREMENTS, (scale, scale.left_out), callgrind.as_ref(), &mut report);
    report.finish();
}
