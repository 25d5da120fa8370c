//! What requests cost that nobody is in the way of, beside what they cost when there were exclusive locks only.

use crate::bench::callgrind::{Callgrind, Counted};
use crate::bench::clients::DAY;
use crate::bench::progress;
use crate::bench::report::{Cell, Entry, Report, Table};
use crate::bench::wire::{command, Wire};
use crate::Scale;
use support::{Server, ServerBuilder};

const OWNER: &str = "owner-0123456789";
const OTHER: &str = "other-0123456789";
/// Keys take turns.
const KEYS: usize = 1000;
/// Commands in one write.
const AT_ONCE: usize = 50;

/// Commit b2710e7, the last with exclusive locks only, counted by this very code on Redis 7.0.15: instructions of an
/// acquire and a release. To count it anew, build it and name its `.so` in `REDIS_LOCK_BASE`.
const BASE: f64 = 14_209.0;
/// How much more this build may take.
const BOUND: f64 = 1.05;

/// Two commands for each key, and what was there before.
#[derive(Clone, Copy, PartialEq)]
enum Pair {
    Exclusive,
    Shared,
    Limited,
    /// Beside one other holder.
    SharedBeside,
    Session,
    /// Two looks at a lock that is held.
    Check,
}

impl Pair {
    fn name(self) -> &'static str {
        match self {
            Pair::Exclusive => "LOCK.ACQUIRE k o PX 30000, LOCK.RELEASE k o",
            Pair::Shared => "the same SHARED",
            Pair::Limited => "the same SHARED LIMIT 5",
            Pair::SharedBeside => "the same SHARED, beside one other holder",
            Pair::Session => "the same SESSION",
            Pair::Check => "LOCK.CHECK k o, LOCK.CHECK k o",
        }
    }

    /// Who holds each key before anything is counted, and how.
    fn held_before(self) -> Option<&'static [&'static str]> {
        match self {
            Pair::Exclusive | Pair::Shared | Pair::Limited | Pair::Session => None,
            Pair::SharedBeside => Some(&[OTHER, "PX", DAY, "SHARED"]),
            Pair::Check => Some(&[OWNER, "PX", DAY]),
        }
    }

    fn commands(self, key: &str) -> [Vec<u8>; 2] {
        let mode: &[&str] = match self {
            Pair::Check => return [(); 2].map(|()| command(&["LOCK.CHECK", key, OWNER])),
            Pair::Exclusive => &[],
            Pair::Shared | Pair::SharedBeside => &["SHARED"],
            Pair::Limited => &["SHARED", "LIMIT", "5"],
            Pair::Session => &["SESSION"],
        };
        let acquire = [&["LOCK.ACQUIRE", key, OWNER, "PX", "30000"], mode].concat();
        [command(&acquire), command(&["LOCK.RELEASE", key, OWNER])]
    }

    fn work(self, server: &Server, pairs: usize) {
        let mut wire = Wire::connect(server);
        // A lookup in an empty database costs nothing, and no database is empty.
        wire.ask(&command(&["LOCK.ACQUIRE", "held meanwhile", OWNER, "PX", DAY]));
        let keys: Vec<String> = (0..KEYS).map(|i| format!("lock:{i:011}")).collect();
        if let Some(held) = self.held_before() {
            for key in &keys {
                wire.ask(&command(&[&["LOCK.ACQUIRE", key.as_str()], held].concat()));
            }
        }
        let commands: Vec<Vec<u8>> = keys.iter().flat_map(|key| self.commands(key)).collect();
        for batch in commands.chunks(AT_ONCE).cycle().take(2 * pairs / AT_ONCE) {
            wire.send(&batch.concat());
            for _ in batch {
                // A lock that was refused, or already free, would cost less.
                let reply = wire.read();
                assert!(reply != 0 && !reply.is_nil(), "{reply:?}");
            }
        }
    }

    /// The least, the median and the most of several counts.
    fn count(self, callgrind: &Callgrind, scale: Scale, server: &ServerBuilder) -> Cell {
        progress(self.name());
        let counts = (0..scale.counts).map(|_| {
            callgrind.count(Counted::Everything, (scale.pairs, server), |server, pairs| self.work(server, pairs))
        });
        Cell::of(counts.collect())
    }
}

/// Fills the table of pairs, and the bound on the first.
pub fn measure(callgrind: &Callgrind, scale: Scale, report: &mut Report) {
    let mut table = Table::new(
        "Instructions of the server per pair of commands, by kind of hold",
        &["pair", "module", "instructions"],
    );
    let base = match std::env::var_os("REDIS_LOCK_BASE") {
        Some(path) => Pair::Exclusive.count(callgrind, scale, &Server::builder().module(path)),
        None => Cell::one(BASE),
    };
    table.row(vec![Pair::Exclusive.name().into(), "commit b2710e7".into(), Entry::Number(base, 0)]);
    for pair in [Pair::Exclusive, Pair::Shared, Pair::Limited, Pair::SharedBeside, Pair::Session, Pair::Check] {
        let cell = pair.count(callgrind, scale, &Server::builder());
        table.row(vec![pair.name().into(), "this one".into(), Entry::Number(cell, 0)]);
        if pair == Pair::Exclusive {
            report.goal("acquire + release / the same of commit b2710e7", cell.median / base.median, BOUND);
        }
    }
    report.table(table);
    report.note(
        "Pipelines of 50, keys and owners of 16 bytes, 1000 keys one after the other beside one more lock, `save \"\"`, no AOF, no replica. \
         Commit b2710e7 is the last with exclusive locks only. Its figure was counted by this code on Redis 7.0.15 when it was \
         new, unless REDIS_LOCK_BASE names its `.so`; on another server the two do not compare.",
    );
}
