//! How long the next in line waits after a holder that says nothing: its lease ends, or its process is killed.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::bench::clients::DAY;
use crate::bench::progress;
use crate::bench::report::{quantile, Cell, Entry, Report, Table};
use crate::bench::wire::{command, Wire};
use crate::Scale;
use support::Server;

const KEY: &str = "handoff:01234567";
const HOLDER: &str = "owner-0123456789";
const NEXT: &str = "owner-abcdefghij";
/// The leases, and the waits in BLPOP, that end.
const LEASE: Duration = Duration::from_millis(25);

/// Fills the table "hand-off from a silent holder".
pub fn measure(scale: Scale, report: &mut Report) {
    progress("hand-off from holders that say nothing");
    let server = Server::start();
    let (mut holder, mut next) = (Wire::connect(&server), Wire::connect(&server));
    let mut times = [const { Vec::new() }; 3];
    for _ in 0..scale.silent {
        times[0].push(lease_end(&mut holder, &mut next));
        times[1].push(time_out(&mut next));
        times[2].push(kill(&server, &mut next));
    }
    let title = format!("Hand-off from a holder that goes silent, {} times", scale.silent);
    let mut table = Table::new(&title, &["what ends", "p50, ms", "p99, ms", "longest, ms"]);
    let names = [
        "a lease of 25 ms: from then on until the next has its grant",
        "a wait of 25 ms in BLPOP: from then on until it is told",
        "the process of a holder with SESSION, by SIGKILL: from the signal until the next has its grant",
    ];
    for (name, mut times) in names.into_iter().zip(times) {
        times.sort_by(f64::total_cmp);
        let numbers = [0.5, 0.99, 1.0].map(|q| Entry::Number(Cell::one(quantile(&times, q)), 2));
        table.row([name.into()].into_iter().chain(numbers).collect());
    }
    report.table(table);
    report.note(
        "A lease counts from when the holder was told of it. The wait in BLPOP is there for comparison: it is how soon Redis \
         itself notices that a time is over, when nothing else happens.",
    );
}

fn acquire(owner: &str, more: &[&str]) -> Vec<u8> {
    command(&[&["LOCK.ACQUIRE", KEY, owner][..], more].concat())
}

/// The next one has it, and gives it back. Milliseconds since `start`.
fn served(next: &mut Wire, start: Instant) -> f64 {
    assert!(next.read().int() > 0);
    let ms = start.elapsed().as_secs_f64() * 1000.0;
    assert_eq!(next.ask(&command(&["LOCK.RELEASE", KEY, NEXT])), 1);
    ms
}

fn lease_end(holder: &mut Wire, next: &mut Wire) -> f64 {
    let lease = LEASE.as_millis().to_string();
    assert!(holder.ask(&acquire(HOLDER, &["PX", &lease])).int() > 0);
    let start = Instant::now();
    next.send(&acquire(NEXT, &["PX", DAY, "BLOCK", "0"]));
    served(next, start) - LEASE.as_secs_f64() * 1000.0
}

fn time_out(client: &mut Wire) -> f64 {
    let start = Instant::now();
    assert!(client.ask(&command(&["BLPOP", "nothing", &LEASE.as_secs_f64().to_string()])).is_nil());
    (start.elapsed() - LEASE).as_secs_f64() * 1000.0
}

fn kill(server: &Server, next: &mut Wire) -> f64 {
    let mut process = session(server);
    next.send(&acquire(NEXT, &["PX", DAY, "BLOCK", "0"]));
    // So that it waits, and the machine has gone to sleep.
    Wire::connect(server).settle();
    let start = Instant::now();
    process.kill().expect("it runs");
    let ms = served(next, start);
    process.wait().expect("it has ended");
    ms
}

/// A process of its own that holds the lock for as long as it is connected.
fn session(server: &Server) -> Child {
    let mut process = Command::new("redis-cli")
        .args(["-p", &server.port().to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("redis-cli starts");
    let words = process.stdin.as_mut().expect("it is piped");
    writeln!(words, "LOCK.ACQUIRE {KEY} {HOLDER} PX {DAY} SESSION").expect("it reads");
    let mut answer = String::new();
    BufReader::new(process.stdout.as_mut().expect("it is piped")).read_line(&mut answer).expect("it answers");
    assert!(answer.trim().parse::<u64>().is_ok(), "{answer}");
    process
}
