//! The benchmark of stalls (`make bench`): how long everybody else waits for an answer while thousands of clients are
//! granted, time out or disconnect at once.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod at_once;
#[path = "../support/mod.rs"]
mod bench;

use bench::Measurement;

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    /// Clients that are granted or disconnected at once.
    clients: usize,
    /// How often that is done.
    rounds: usize,
}

const FULL: Scale = Scale { clients: 10_000, rounds: 5 };
const QUICK: Scale = Scale { clients: 1000, rounds: 3 };

const MEASUREMENTS: [(&str, Measurement<Scale>); 1] = [("at_once", Measurement::Long(at_once::measure))];

fn main() {
    let scale = if bench::is_quick() { QUICK } else { FULL };
    bench::run("stall", "Stalls: how long everybody else waits", &MEASUREMENTS, scale, &[]);
}
