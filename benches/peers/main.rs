//! The fourth benchmark (`make bench`): redis-lock beside the locks that people use instead, each driven by its own library
//! in its own language. README.md in this folder is the protocol between this program and the workers.
//!
//! * [`cells`]: what is measured, and for how long.
//! * [`workers`]: the programs that drive the libraries, by build.sh and run.sh alone; [`protocol`] is what they are told
//!   and tell.
//! * [`servers`]: Redis, etcd, PostgreSQL; [`etcd`] and [`postgres`] start theirs.
//! * [`trial`]: one job, with what the server and a bystander saw of it; [`commands`] counts what the server was sent.
//! * [`outcome`]: the trials of all rounds; [`tables`], [`verdict`] and [`pictures`] are made of it.
//!
//! All sides of a comparison take turns in each round, on one server. No figure is taken from a run that failed a check.
//!
//! `BENCH_ONLY=go,redisson` keeps what has such a language or peer (and redis-lock beside it), `BENCH_ROUNDS=1` shortens.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "../support/mod.rs"]
mod bench;
mod cells;
mod commands;
mod etcd;
mod outcome;
mod pictures;
mod postgres;
mod process;
mod protocol;
mod servers;
mod tables;
mod trial;
mod verdict;
mod workers;

use bench::progress;
use bench::report::Report;
use outcome::Outcome;
use servers::Servers;
use workers::Row;

fn main() {
    let scale = if bench::is_quick() { &cells::QUICK } else { &cells::FULL };
    let mut report = Report::new("peers", "redis-lock beside other locks", None);
    let load_before = bench::load();
    let servers = Servers::start(&mut report);
    let rows = rows(scale, &servers, &mut report);
    let rounds = rounds(scale, &mut report);
    let outcome = measure(scale, rounds, &servers, rows);
    verdict::judge(&outcome, &mut report);
    tables::in_short(&outcome, &mut report);
    tables::fill(&outcome, &mut report);
    pictures::draw(&outcome, &mut report);
    tables::settings(&outcome, &mut report);
    report.note(&format!("Load of the machine, 1, 5 and 15 minutes: {load_before} before, {} after.", bench::load()));
    report.raw("rounds", serde_json::to_string(&outcome.trials).unwrap());
    report.finish();
}

/// Who takes part. Who cannot is told to the report.
fn rows(scale: &cells::Scale, servers: &Servers, report: &mut Report) -> Vec<Row> {
    let only = std::env::var("BENCH_ONLY").unwrap_or_default();
    let names: Vec<&str> = only.split(',').filter(|name| !name.is_empty()).collect();
    let mut rows = workers::rows(report);
    if !names.is_empty() {
        report.skip("every other peer", &format!("left out by BENCH_ONLY={only}"));
        let is_named = |row: &Row| names.contains(&row.language.as_str()) || names.contains(&row.about.peer.as_str());
        let languages: Vec<String> = rows.iter().filter(|row| is_named(row)).map(|row| row.language.clone()).collect();
        rows.retain(|row| is_named(row) || (row.is_redis_lock() && languages.contains(&row.language)));
    }
    rows.retain(|row| match servers.lack(row) {
        Some(why) => {
            report.remark(format!("Left out: {} ({why}).", row.name()));
            false
        }
        None => true,
    });
    if scale.is_last_row_only {
        let all = rows.clone();
        rows.retain(|row| {
            all.iter().rfind(|other| other.is_same_peer(row)).is_some_and(|last| last.about.row == row.about.row)
        });
    }
    rows
}

/// How often all is tried.
fn rounds(scale: &cells::Scale, report: &mut Report) -> usize {
    let Ok(rounds) = std::env::var("BENCH_ROUNDS") else { return scale.rounds };
    report.skip("other rounds", &format!("BENCH_ROUNDS={rounds}"));
    rounds.parse().expect("BENCH_ROUNDS is a number")
}

/// All rows in turn, cell by cell, round by round.
fn measure(scale: &'static cells::Scale, rounds: usize, servers: &Servers, rows: Vec<Row>) -> Outcome {
    let inside: Vec<commands::Inside> = rows.iter().map(|row| trial::look_inside(servers, row)).collect();
    let mut trials = Vec::new();
    for round in 0..rounds {
        for cell in scale.cells {
            for turn in 0..rows.len() {
                // Whoever comes first in one round comes later in the next.
                let place = (turn + round) % rows.len();
                progress(&format!("round {} of {rounds}, {}: {}", round + 1, cell.title(), rows[place].name()));
                trials.push(trial::run(servers, &rows[place], cell, &inside[place], round));
            }
        }
    }
    Outcome { scale, rounds, rows, trials }
}
