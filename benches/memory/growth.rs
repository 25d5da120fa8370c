//! What tables cost while they grow: bytes at every number of locks, and how long the server stands still.
//!
//! Who does not know better lets a table double when it is full. Then it takes up to twice the memory just after, and the
//! request that fills it waits until all is moved. So locks are taken on one server, 64 at a time, and looked at all along.

use std::time::{Duration, Instant};

use crate::bench::clients::{connect, hold, memory, owner, roomy, until_number, DAY};
use crate::bench::progress;
use crate::bench::report::{quantile, Cell, Entry, Report, Table};
use crate::bench::wire::{command, Wire};
use crate::Scale;
use support::Server;

/// Commands in one write.
const BATCH: usize = 64;
/// How many locks are taken from one look at the memory to the next.
const LOOK_EVERY: usize = 100 * BATCH;
/// Numbers of locks whose memory is told.
const TOLD: [usize; 4] = [100_000, 300_000, 600_000, 1_100_000];
/// What a held lock may take there, beside a string with the same key, value and lease.
const BOUND: f64 = 1.4;
/// And at any number between the first and the last.
const BOUND_BETWEEN: f64 = 1.48;
/// How long the server may be busy with a batch, in milliseconds.
const BUSY: f64 = 12.0;
/// The most holders that one lock may have.
const SHARED_MAX: usize = 1_000_000;
const KEY: &str = "lock:01234567890";

/// The name of the i-th key, 16 bytes.
fn key(i: usize) -> String {
    format!("lock:{i:011}")
}

/// What was seen while something grew.
#[derive(Default)]
struct Growth {
    /// How long each batch took.
    batches: Vec<Duration>,
    /// How long the server's main thread was on a processor for it, which nobody else on the machine can stretch.
    busy: Vec<Duration>,
    /// Bytes of each, at so many.
    memory: Vec<(usize, f64)>,
}

/// For how long the server's main thread has been on a processor, as Linux tells.
fn on_processor(server: &Server) -> Duration {
    let told = std::fs::read_to_string(format!("/proc/{}/schedstat", server.pid())).unwrap();
    Duration::from_nanos(told.split(' ').next().and_then(|ns| ns.parse().ok()).unwrap())
}

impl Growth {
    /// Does one batch.
    fn batch(&mut self, server: &Server, work: impl FnOnce()) {
        let (busy, start) = (on_processor(server), Instant::now());
        work();
        self.batches.push(start.elapsed());
        self.busy.push(on_processor(server) - busy);
    }

    /// The bytes of each, at the first look after so many.
    fn at(&self, count: usize) -> f64 {
        self.memory.iter().find(|(at, _)| *at >= count).map(|(_, each)| *each).unwrap()
    }

    fn row(&self, what: &str, table: &mut Table) -> f64 {
        let ms = |times: &[Duration]| {
            let mut times: Vec<f64> = times.iter().map(|time| time.as_secs_f64() * 1000.0).collect();
            times.sort_by(f64::total_cmp);
            [0.5, 1.0].map(|share| quantile(&times, share))
        };
        let ([median, slowest], [_, busiest]) = (ms(&self.batches), ms(&self.busy));
        let number = |ms: f64, digits| Entry::Number(Cell::one(ms), digits);
        let count = self.batches.len() * BATCH;
        table.row(vec![what.into(), count.into(), number(median, 2), number(slowest, 1), number(busiest, 1)]);
        busiest
    }
}

/// Says so many commands on a new server, in batches.
fn grow(what: &str, count: usize, words: impl Fn(usize) -> Vec<u8>) -> Growth {
    progress(&format!("{count} times {what}"));
    let server = roomy(Server::builder()).start();
    let mut wire = Wire::connect(&server);
    // What tables of the server and of the module take when they are first used.
    wire.ask(&command(&["LOCK.ACQUIRE", "another", "somebody", "PX", DAY]));
    let (start, mut growth) = (memory(&mut wire), Growth::default());
    for first in (0..count).step_by(BATCH) {
        let batch: Vec<u8> = (first..first + BATCH).flat_map(&words).collect();
        growth.batch(&server, || {
            wire.send(&batch);
            (0..BATCH).for_each(|_| assert!(!wire.read().is_nil()));
        });
        let there = first + BATCH;
        let is_told = TOLD.iter().any(|told| (first..there).contains(told));
        if is_told || there.is_multiple_of(LOOK_EVERY) {
            growth.memory.push((there, (memory(&mut wire) - start) as f64 / there as f64));
        }
    }
    growth
}

/// So many clients join one line, in batches.
fn wait(count: usize) -> Growth {
    progress(&format!("{count} waiters"));
    let (server, mut growth) = (roomy(Server::builder()).start(), Growth::default());
    let mut control = Wire::connect(&server);
    hold(&mut control, KEY);
    let mut clients = connect(&server, count / BATCH * BATCH);
    for (number, batch) in clients.chunks_mut(BATCH).enumerate() {
        growth.batch(&server, || {
            for (i, client) in batch.iter_mut().enumerate() {
                let owner = owner(number * BATCH + i);
                client.send(&command(&["LOCK.ACQUIRE", KEY, &owner, "PX", DAY, "BLOCK", DAY]));
            }
            control.settle();
        });
    }
    until_number(&mut control, "clients", "blocked_clients", |blocked| blocked as usize == clients.len());
    growth
}

/// Fills the tables of growth, and the bounds on memory and stalls.
pub fn measure(scale: Scale, report: &mut Report) {
    let lock = |i: usize, more: &[&str]| command(&[&["LOCK.ACQUIRE", &key(i), &owner(i), "PX", DAY], more].concat());
    let shared = |i: usize| command(&["LOCK.ACQUIRE", KEY, &owner(i), "PX", DAY, "SHARED"]);
    let strings =
        grow("SET key owner NX PX ms", scale.locks, |i| command(&["SET", &key(i), &owner(i), "NX", "PX", DAY]));
    let locks = grow("exclusive", scale.locks, |i| lock(i, &[]));
    tell_memory(&strings, &locks, report);
    let columns = ["what", "how many", "median batch of 64, ms", "slowest, ms", "most of the server's processor, ms"];
    let mut table = Table::new("How long the server stands still while tables grow", &columns);
    strings.row("SET key owner NX PX ms", &mut table);
    let mut busiest = locks.row("exclusive", &mut table);
    let others = [
        ("exclusive SESSION, all of one connection", grow("SESSION", scale.locks, |i| lock(i, &["SESSION"]))),
        ("SHARED, one lock", grow("SHARED", scale.locks.min(SHARED_MAX), shared)),
        ("waiters of one lock", wait(scale.clients)),
    ];
    for (what, growth) in &others {
        busiest = busiest.max(growth.row(what, &mut table));
    }
    report.goal("slowest batch while any of these grow, ms of the server's processor", busiest, BUSY);
    report.table(table);
    report.note(
        "Each row on a new server. The time of a batch also holds what else the machine did meanwhile; the last column is \
         for how long the server's main thread was on a processor for one batch, and the bound is on that. SET's are the \
         server's own tables, which all rows but the last two need too.",
    );
}

/// Fills the table of memory.
fn tell_memory(strings: &Growth, locks: &Growth, report: &mut Report) {
    let columns = ["locks", "bytes of a string", "bytes of a lock", "lock / string"];
    let mut table = Table::new("Memory of an exclusive lock at every number of locks", &columns);
    let ratio = |count: usize| locks.at(count) / strings.at(count);
    let mut row = |what: String, count: usize| {
        let bytes = [strings.at(count), locks.at(count)].map(|bytes| Entry::Number(Cell::one(bytes), 0));
        table.row(
            [vec![what.as_str().into()], bytes.to_vec(), vec![Entry::Number(Cell::one(ratio(count)), 3)]].concat(),
        );
    };
    for count in TOLD {
        row(count.to_string(), count);
        report.goal(&format!("bytes of {count} held locks / as many strings"), ratio(count), BOUND);
    }
    let between = locks.memory.iter().map(|(count, _)| *count).filter(|count| *count >= TOLD[0]);
    let worst = between.max_by(|one, other| ratio(*one).total_cmp(&ratio(*other))).unwrap();
    row(format!("{worst}, the worst from {} on", TOLD[0]), worst);
    report.goal(&format!("the same at worst, from {} on", TOLD[0]), ratio(worst), BOUND_BETWEEN);
    report.table(table);
    report.note(&format!(
        "`used_memory` beside an empty server's, keys and owners of 16 bytes, leases of a day; looked at after every \
         {LOOK_EVERY} locks, and as soon as there are as many as the line says. The bytes hold each one's share of the key and of the server's tables, which double when they \
         are full.",
    ));
}
