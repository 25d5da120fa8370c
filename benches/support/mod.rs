//! What all benchmarks share.
//!
//! * [`callgrind`] counts a server's instructions; a count does not depend on what else the machine does.
//! * [`clients`] are thousands of connections.
//! * [`streams`] are the others, who only want to read and write.
//! * [`wire`] is the client's side.
//! * [`report`] prints the tables and writes them into `docs/benchmarks/`.
//!
//! Environment: `QUICK=1` for a short run that writes nothing, `BENCH_OUT` for a directory that gets the files of any run
//! instead, `BENCH_ONLY` for some measurements only, `REDIS_SERVER` for another server, `REDIS_LOCK_MODULE` for a module that is already built.

// Each benchmark uses a part of this.
#![allow(dead_code)]

pub mod callgrind;
pub mod clients;
pub mod report;
pub mod streams;
pub mod wire;

use callgrind::Callgrind;
use report::Report;
use support::Server;

/// Whether a short run was asked for.
pub fn is_quick() -> bool {
    std::env::var_os("QUICK").is_some_and(|value| !value.is_empty() && value != "0")
}

/// Whether this measurement is to be made: it is not among those that this run leaves out, and nobody asked for others only
/// (`BENCH_ONLY=pairs,queue`).
pub fn is_chosen(name: &str, left_out: &[&str], report: &mut Report) -> bool {
    let only = std::env::var("BENCH_ONLY").unwrap_or_default();
    let why = match only.as_str() {
        "" if left_out.contains(&name) => "a short run leaves it out",
        "" => return true,
        _ if only.split(',').any(|one| one == name) => return true,
        _ => "left out by BENCH_ONLY",
    };
    report.skip(name, why);
    false
}

/// What fills a part of a report, at a scale.
pub enum Measurement<S> {
    Plain(fn(S, &mut Report)),
    /// With thousands of clients.
    Long(fn(S, &mut Report)),
    /// With instructions, and maybe thousands of clients.
    Counted(fn(&Callgrind, S, &mut Report)),
}

/// Makes those that are chosen and can be made, in their order.
fn measure<S: Copy>(
    all: &[(&str, Measurement<S>)],
    (scale, left_out): (S, &[&str]),
    callgrind: Option<&Callgrind>,
    report: &mut Report,
) {
    let files = support::raise_open_files();
    for (name, measurement) in all {
        if !is_chosen(name, left_out, report) {
            continue;
        }
        match (measurement, callgrind) {
            (Measurement::Long(_) | Measurement::Counted(_), _) if files < clients::FILES => {
                report.skip(name, &format!("{} open files are needed, {files} allowed", clients::FILES));
            }
            (Measurement::Plain(measure) | Measurement::Long(measure), _) => measure(scale, report),
            (Measurement::Counted(measure), Some(callgrind)) => measure(callgrind, scale, report),
            (Measurement::Counted(_), None) => report.skip(name, "valgrind is not installed"),
        }
    }
}

/// A whole benchmark: makes the measurements at this scale, all but `left_out`, and writes the report with this name.
pub fn run<S: Copy>(
    name: &'static str,
    heading: &'static str,
    all: &[(&str, Measurement<S>)],
    scale: S,
    left_out: &[&str],
) {
    // Puts itself between the harness and the server, so it must come before the first server.
    let callgrind = Callgrind::find();
    let mut report = Report::new(name, heading, callgrind.as_ref());
    measure(all, (scale, left_out), callgrind.as_ref(), &mut report);
    report.finish();
}

/// What a reader must know to compare numbers.
pub fn environment(callgrind: Option<&Callgrind>) -> Vec<(&'static str, String)> {
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

/// How busy the machine is: on a busy one everybody waits for a processor, too.
pub fn load() -> String {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    load.split(' ').take(3).collect::<Vec<&str>>().join(", ")
}

/// Shows on standard error what is being measured.
pub fn progress(what: &str) {
    eprintln!("bench: {what}");
}
