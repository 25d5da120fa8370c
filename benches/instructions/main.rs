//! The benchmark of exclusive locks (`make bench`): instructions a pair of commands costs, the latency of a hand-off, and
//! that neither grows with the number of locks or waiters.
//!
//! [`pairs`] and [`crowd`] count instructions. [`handoff`], [`line`] and [`ends`] measure time, so they interleave both sides
//! in short rounds.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "../support/mod.rs"]
mod bench;
mod crowd;
mod ends;
mod handoff;
mod line;
mod pairs;

use bench::callgrind::Callgrind;
use bench::report::Report;
use bench::Measurement;

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    /// Measurements that are not made.
    left_out: &'static [&'static str],
    /// How the pairs of commands are sent.
    ways: &'static [pairs::Way],
    /// Pairs of the shorter of two runs; the longer one has three times as many.
    pairs: usize,
    /// How often an instruction count is taken.
    counts: usize,
    /// Rounds of hand-offs.
    rounds: usize,
    /// Hand-offs of one kind in a round.
    handoffs: usize,
    /// How many clients stand in line when one of them is served.
    line: &'static [usize],
    /// Rounds of hand-offs in such a line.
    line_rounds: usize,
    /// How often a lease, and a process, is ended.
    ends: usize,
    /// How many other locks are held.
    locks: [usize; 4],
    /// How many other clients wait.
    waiters: [usize; 4],
}

const FULL: Scale = Scale {
    left_out: &[],
    ways: &pairs::Way::ALL,
    pairs: 4000,
    counts: 3,
    rounds: 101,
    handoffs: 400,
    line: &[1, 10, 100, 1000, 10_000],
    line_rounds: 11,
    ends: 100,
    locks: [0, 1, 1000, 100_000],
    waiters: [0, 1, 1000, 5000],
};
const QUICK: Scale = Scale {
    left_out: &["crowd"],
    ways: &[pairs::Way::Pipelined],
    pairs: 1500,
    counts: 1,
    rounds: 31,
    handoffs: 150,
    line: &[1, 100],
    line_rounds: 3,
    ends: 20,
    locks: [0, 1, 100, 10_000],
    waiters: [0, 1, 30, 1000],
};

/// In the order of the report.
const MEASUREMENTS: [(&str, Measurement<Scale>); 5] = [
    ("pairs", Measurement::Counted(pairs::measure)),
    ("crowd", Measurement::Counted(crowd::measure)),
    ("handoff", Measurement::Plain(handoff::measure)),
    ("line", Measurement::Long(line::measure)),
    ("ends", Measurement::Plain(ends::measure)),
];

fn main() {
    let scale = if bench::is_quick() { QUICK } else { FULL };
    // Puts itself between the harness and the server, so it must come before the first server.
    let callgrind = Callgrind::find();
    let mut report = Report::new("part1", "Exclusive locks: what they cost", callgrind.as_ref());
    bench::measure(&MEASUREMENTS, (scale, scale.left_out), callgrind.as_ref(), &mut report);
    report.finish();
}
