//! The conformance suite: holds every client of redis-lock to one behaviour. conformance/README.md says how to use it.
//!
//! | file | owns |
//! |---|---|
//! | `scenario.rs` | the scenarios as they stand in the feature files |
//! | `vocabulary.rs`, `definition.rs`, `steps/` | the steps that they are written in |
//! | `world.rs` | what one scenario has while it runs |
//! | `driver.rs`, `clients.rs` | the driver processes, and the list of clients |
//! | `deployment.rs` | the servers and the relays before them |
//! | `judge.rs`, `monitor.rs` | what the servers say |
//! | `run.rs`, `planted.rs` | running scenarios, also with planted faults |
//! | `report.rs`, `page.rs`, `transcript.rs` | what a person reads |

#![allow(clippy::indexing_slicing, reason = "a member that a JSON object does not have reads as null")]

mod clients;
mod definition;
mod deployment;
mod driver;
mod judge;
mod monitor;
mod outcome;
mod page;
mod planted;
mod report;
mod run;
mod scenario;
mod steps;
mod transcript;
mod vocabulary;
mod world;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;

use crate::outcome::{ensure, fail, Outcome};
use crate::report::Results;
use crate::scenario::Scenario;
use crate::vocabulary::Vocabulary;
use crate::world::Subject;

/// Runs the conformance scenarios of redis-lock's clients against real servers.
#[derive(Parser)]
#[command(name = "conformance")]
struct Options {
    /// Clients or groups of clients, by their names in conformance/clients.toml [default: all]
    #[arg(long = "client", value_name = "NAME", value_delimiter = ' ')]
    clients: Vec<String>,
    /// Server programs, one after the other [default: redis-server]
    #[arg(long = "server", value_name = "PATH", value_delimiter = ' ')]
    servers: Vec<PathBuf>,
    /// Only scenarios whose name or file contains this text
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Only the scenarios of the quick part
    #[arg(long)]
    quick: bool,
    /// Runs the drivers with each planted fault, and fails if the suite does not notice it
    #[arg(long)]
    faults: bool,
    /// How many scenarios run at the same time [default: two for each core, since they mostly wait]
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
    /// Writes the table of scenarios by clients and servers to this file, with earlier results of other clients
    #[arg(long, value_name = "FILE")]
    table: Option<PathBuf>,
    /// Lists the scenarios and ends
    #[arg(long)]
    list: bool,
    /// Prints the table of all steps and ends
    #[arg(long)]
    vocabulary: bool,
}

fn main() -> ExitCode {
    match act(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("conformance: {error}");
            ExitCode::from(2)
        }
    }
}

/// Whether all went well. An error is one of use.
fn act(options: &Options) -> Outcome<bool> {
    let vocabulary = Arc::new(Vocabulary::new()?);
    if options.vocabulary {
        print!("{}", vocabulary.table());
        return Ok(true);
    }
    let root = support::root().canonicalize().map_err(|error| error.to_string())?;
    let scenarios = choose(options, &root, &vocabulary)?;
    if options.list {
        for scenario in &scenarios {
            let quick = if scenario.is_quick { " (quick)" } else { "" };
            println!("{}: {}{quick}", scenario.feature, scenario.name);
        }
        return Ok(true);
    }
    let all = clients::read(&root.join("conformance/clients.toml"))?;
    let chosen = clients::choose(&all, &options.clients)?;
    for client in &chosen {
        client.set_up(&root)?;
    }
    let subject = |client| Subject { client, fault: None, root: root.clone() };
    let subjects: Vec<Subject> = chosen.into_iter().map(subject).collect();
    // Panics of the test support are failures of scenarios, and their words are in the reports.
    std::panic::set_hook(Box::new(|_| {}));
    support::raise_open_files();
    let jobs = options.jobs.unwrap_or_else(|| 2 * std::thread::available_parallelism().map_or(1, usize::from));
    if options.faults {
        return plant(options, &vocabulary, &scenarios, &subjects, jobs);
    }
    let mut results = Results::new();
    for server in servers(options) {
        support::use_program(&server);
        let name = version(&server)?;
        println!("-- {name}");
        let pair = |scenario: &Scenario| subjects.iter().map(|it| (scenario.clone(), it.clone())).collect::<Vec<_>>();
        let work = scenarios.iter().flat_map(pair).collect();
        results.push((name, run::run_all(&vocabulary, work, jobs, &|run| println!("{}", report::line(run)))));
        if let Some(path) = &options.table {
            // After each server, so that a run that is broken off leaves what it has found.
            let all = scenario::read_all(&root.join("conformance/scenarios"))?.into_iter().map(|it| it.name).collect();
            page::write(&results, &all, &root.join("target/conformance/results.json"), path)?;
        }
    }
    println!("{}", report::failures(&results));
    let (passed, failed, skipped) = report::totals(&results);
    println!("conformance: {passed} passed, {failed} failed, {skipped} skipped");
    Ok(failed == 0)
}

/// The scenarios that the options choose. All must be written in known steps.
fn choose(options: &Options, root: &Path, vocabulary: &Vocabulary) -> Outcome<Vec<Scenario>> {
    let mut scenarios = scenario::read_all(&root.join("conformance/scenarios"))?;
    for scenario in &scenarios {
        for step in &scenario.steps {
            vocabulary.find(step).map_err(|error| format!("{}: {error}", scenario.path.display()))?;
        }
    }
    if let Some(text) = &options.only {
        let in_path = |it: &Scenario| it.path.file_name().is_some_and(|name| name.to_string_lossy().contains(text));
        scenarios.retain(|it| it.name.contains(text) || in_path(it));
        ensure(!scenarios.is_empty(), || format!("no scenario's name or file contains '{text}'"))?;
    }
    if options.quick {
        scenarios.retain(|it| it.is_quick);
    }
    Ok(scenarios)
}

fn servers(options: &Options) -> Vec<PathBuf> {
    match options.servers.as_slice() {
        [] => vec![std::env::var_os("REDIS_SERVER").map_or_else(|| "redis-server".into(), PathBuf::from)],
        servers => servers.to_vec(),
    }
}

/// The name and version of a server program, as the table shows it.
fn version(program: &Path) -> Outcome<String> {
    let server = support::Server::builder().try_start().map_err(|error| format!("{}: {error}", program.display()))?;
    let version = server.version();
    let (major, minor, patch) = version.number;
    Ok(format!("{} {major}.{minor}.{patch}", if version.valkey { "Valkey" } else { "Redis" }))
}

fn plant(
    options: &Options,
    vocabulary: &Arc<Vocabulary>,
    scenarios: &[Scenario],
    subjects: &[Subject],
    jobs: usize,
) -> Outcome<bool> {
    let [server] = servers(options).try_into().or_else(|_| fail("planted faults need one server"))?;
    support::use_program(&server);
    let is_part = options.only.is_some();
    match planted::check(vocabulary, scenarios, subjects, is_part, jobs, &|run| println!("{}", report::line(run))) {
        Ok(found) => {
            println!("\n{}\nconformance: every planted fault was found", found.join("\n"));
            Ok(true)
        }
        Err(missed) => {
            println!("\n{missed}");
            Ok(false)
        }
    }
}
