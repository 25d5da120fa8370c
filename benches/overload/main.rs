//! The third benchmark (`make bench`): how long everybody else waits while thousands wait, end and close, beside the same
//! load on the same server without the module.
//!
//! * [`streams`](bench::streams): the others. Three connections that send PING, GET and SET at a steady pace.
//! * [`waiting`], [`leases`], [`closing`]: the loads, each in two forms.
//!
//! Each load checks that nothing was lost before its figures count.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "../support/mod.rs"]
mod bench;
mod closing;
mod leases;
mod waiting;

use bench::clients::{roomy, FILES, MANY_CLIENTS};
use bench::progress;
use bench::report::{Cell, Entry, Report, Table};
use bench::streams::{self, Seen, Streams};
use support::Server;

/// The longest PING, in milliseconds, that 100 000 leases may cause which end in one.
const LONGEST_PING_MS: f64 = 10.0;

/// How much is done at once.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    /// Connections that wait, or close.
    crowd: usize,
    /// What they wait for.
    locks: usize,
    /// Leases that end in one millisecond.
    leases: usize,
    /// How often each load is tried, in turn with and without the module.
    rounds: usize,
}

const FULL: Scale = Scale { crowd: 10_000, locks: 100, leases: 100_000, rounds: 5 };
const QUICK: Scale = Scale { crowd: 1000, locks: 10, leases: 10_000, rounds: 1 };

/// Where a load is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The server with the module.
    Module,
    /// The server alone, with what it has that comes nearest.
    Without,
}

impl Side {
    /// A new server.
    fn server(self) -> Server {
        match self {
            Side::Module => roomy(Server::builder()).start(),
            Side::Without => Server::builder().without_module().config(MANY_CLIENTS).start(),
        }
    }
}

/// A load: its name for `BENCH_ONLY`, what it does on either side, and what was seen in each of its steps.
struct Load {
    name: &'static str,
    steps: fn(Scale) -> Vec<String>,
    run: fn(Side, Scale) -> Vec<Seen>,
}

const LOADS: [Load; 5] = [
    Load { name: "nothing", steps: |_| vec!["Nothing happens".into()], run: nothing },
    Load { name: "waiting", steps: waiting::steps, run: waiting::run },
    Load { name: "leases", steps: leases::steps, run: leases::run },
    Load { name: "shared", steps: leases::steps_shared, run: leases::run_shared },
    Load { name: "closing", steps: closing::steps, run: closing::run },
];

/// What the machine itself does to the streams.
fn nothing(side: Side, _: Scale) -> Vec<Seen> {
    let server = side.server();
    vec![Streams::connect(&server).watch(|| {}, || {})]
}

fn main() {
    let scale = if bench::is_quick() { QUICK } else { FULL };
    let files = support::raise_open_files();
    let mut report = Report::new("overload", "Overload: how long everybody else waits", None);
    let load_before = bench::load();
    if files < FILES {
        report.skip("crowds of 10000 clients", &format!("{FILES} open files are needed, {files} allowed"));
        report.finish();
        return;
    }
    for load in LOADS {
        if bench::is_chosen(load.name, &[], &mut report) {
            measure(&load, scale, &mut report);
        }
    }
    report.note(&format!(
        "Median, least and most of {} rounds; each round tries the module, then the server alone, each on a new server of the \
         same version without persistence. The ratio is taken round by round. Three connections send PING, GET and SET, each \
         every {} us, from when it begins until all is over and for a second at least; a request that was due while the one before it was not answered counts as asked when it was due, so a \
         stall counts as often as it would have been met. All is over when the counts agree: what was begun has ended, \
         nobody waits, no key is left.",
        scale.rounds,
        streams::PACE.as_micros()
    ));
    report.note(&format!("Load of the machine, 1, 5 and 15 minutes: {load_before} before, {} after.", bench::load()));
    report.finish();
}

/// Tries a load on both sides in turn, and fills a table for each of its steps.
fn measure(load: &Load, scale: Scale, report: &mut Report) {
    let rounds: Vec<[Vec<Seen>; 2]> = (1..=scale.rounds)
        .map(|round| {
            progress(&format!("{}, round {round} of {}", load.name, scale.rounds));
            [Side::Module, Side::Without].map(|side| (load.run)(side, scale))
        })
        .collect();
    for (step, title) in (load.steps)(scale).iter().enumerate() {
        let [module, without] =
            [0, 1].map(|side| rounds.iter().map(|round| &round[side][step]).collect::<Vec<&Seen>>());
        let mut table = Table::new(title, &["ms", "with the module", "the server alone", "ratio"]);
        for (name, figure) in streams::FIGURES {
            let [ours, theirs] =
                [&module, &without].map(|seen| seen.iter().map(|seen| figure(seen)).collect::<Vec<f64>>());
            let ratios = ours.iter().zip(&theirs).map(|(ours, theirs)| ours / theirs).collect();
            let cell = |numbers: Vec<f64>, digits| Entry::Number(Cell::of(numbers), digits);
            table.row(vec![name.into(), cell(ours, 2), cell(theirs, 2), cell(ratios, 2)]);
        }
        report.table(table);
        if load.name == "leases" || load.name == "shared" {
            let longest = Cell::of(module.iter().map(|seen| seen.longest_ping_ms()).collect());
            report.goal(&format!("longest PING, ms: {title}"), longest.median, LONGEST_PING_MS);
        }
    }
}
