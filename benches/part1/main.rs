//! The benchmark of exclusive locks (`make bench`): instructions a pair of commands costs, the latency of a hand-off, and
//! that neither grows with the number of locks or waiters.
//!
//! * [`callgrind`] counts the server's instructions; a count does not depend on what else the machine does.
//! * [`pairs`] and [`crowd`] use it; [`handoff`] measures time, so it interleaves both sides in short rounds.
//! * [`report`] prints the tables and writes them into `docs/benchmarks/`.
//!
//! Environment: `QUICK=1` for a short run that writes nothing, `REDIS_SERVER` for another server.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod callgrind;
mod crowd;
mod handoff;
mod pairs;
mod report;
#[path = "../../tests/support/mod.rs"]
mod support;
mod wire;

use callgrind::Callgrind;
use report::Report;
use support::Server;

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    /// Pairs of the shorter of two runs; the longer one has three times as many.
    pairs: usize,
    /// How often an instruction count is taken.
    counts: usize,
    /// Rounds of hand-offs.
    rounds: usize,
    /// Hand-offs of one kind in a round.
    handoffs: usize,
    /// How many other locks are held.
    locks: [usize; 4],
    /// How many other clients wait.
    waiters: [usize; 4],
}

const FULL: Scale = Scale {
    pairs: 4000,
    counts: 3,
    rounds: 101,
    handoffs: 400,
    locks: [0, 1, 1000, 100_000],
    waiters: [0, 1, 1000, 5000],
};
const QUICK: Scale =
    Scale { pairs: 1500, counts: 1, rounds: 31, handoffs: 150, locks: [0, 1, 100, 10_000], waiters: [0, 1, 30, 1000] };

fn main() {
    let quick = std::env::var_os("QUICK").is_some_and(|value| !value.is_empty() && value != "0");
    let scale = if quick { QUICK } else { FULL };
    // Puts itself between the harness and the server, so it must come before the first server.
    let callgrind = Callgrind::find();
    let mut report = Report::new(environment(callgrind.as_ref()), quick);
    match &callgrind {
        Some(callgrind) => {
            pairs::measure(callgrind, scale, &mut report);
            crowd::measure(callgrind, scale, &mut report);
        }
        None => {
            for name in pairs::NAMES.iter().chain(&crowd::NAMES) {
                report.skip(name, "valgrind is not installed");
            }
        }
    }
    handoff::measure(scale, &mut report);
    report.finish();
}

/// What a reader must know to compare numbers.
fn environment(callgrind: Option<&Callgrind>) -> Vec<(&'static str, String)> {
    let server = Server::start();
    let version = server.version();
    let (major, minor, patch) = version.number;
    let name = if version.valkey { "Valkey" } else { "Redis" };
    let cpus = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let models: Vec<&str> =
        cpus.lines().filter(|line| line.starts_with("model name")).filter_map(|line| line.split(": ").nth(1)).collect();
    vec![
        ("module", env!("CARGO_PKG_VERSION").to_owned()),
        ("server", format!("{name} {major}.{minor}.{patch}, {}", server.info_field("memory", "mem_allocator"))),
        ("processor", format!("{} x {}", models.len(), models.first().copied().unwrap_or("unknown"))),
        ("counted by", callgrind.map_or("nothing".to_owned(), |callgrind| callgrind.version().to_owned())),
    ]
}

/// Shows on standard error what is being measured.
fn progress(what: &str) {
    eprintln!("bench: {what}");
}
