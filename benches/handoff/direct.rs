//! How long a hand-off takes: from the holder's LOCK.RELEASE to the answer at the next in line, beside the same with a
//! list, LPUSH to BLPOP.
//!
//! Both sides are one piece of code that differs in the two commands only. Two clients of one thread take turns; the next
//! in line is known to wait before the clock starts. Rounds of both kinds alternate, so what disturbs the machine disturbs
//! both, and each pair of rounds yields one ratio.

use std::time::Instant;

use crate::bench::progress;
use crate::bench::report::{quantile, Cell, Entry, Report, Table};
use crate::bench::wire::{command, Wire};
use crate::Scale;
use support::Server;

const KEY: &str = "handoff:01234567";
/// How many times as long as BLPOP's a hand-off may take.
const MOST: f64 = 1.1;
const OWNERS: [&str; 2] = ["owner-0123456789", "owner-abcdefghij"];

/// What one of two clients says to wait, and to hand over.
struct Words {
    wait: Vec<u8>,
    hand_over: Vec<u8>,
}

fn lock_words(owner: &str) -> Words {
    Words {
        wait: command(&["LOCK.ACQUIRE", KEY, owner, "PX", "30000", "BLOCK", "0"]),
        hand_over: command(&["LOCK.RELEASE", KEY, owner]),
    }
}

fn list_words(owner: &str) -> Words {
    Words { wait: command(&["BLPOP", KEY, "0"]), hand_over: command(&["LPUSH", KEY, owner]) }
}

/// Hand-offs between two clients, each in nanoseconds, sorted. The first client holds when it begins.
fn round(clients: &mut [Wire; 2], words: &[Words; 2], handoffs: usize) -> Vec<f64> {
    let [one, other] = clients;
    let (mut holder, mut next) = ((one, &words[0]), (other, &words[1]));
    let mut times = Vec::with_capacity(handoffs);
    for _ in 0..handoffs {
        next.0.send(&next.1.wait);
        holder.0.settle();
        let start = Instant::now();
        holder.0.send(&holder.1.hand_over);
        let granted = next.0.read();
        times.push(start.elapsed().as_nanos() as f64);
        assert!(!granted.is_nil(), "{granted:?}");
        assert_eq!(holder.0.read(), 1);
        std::mem::swap(&mut holder, &mut next);
    }
    times.sort_by(f64::total_cmp);
    times
}

/// Fills the table "hand-off".
pub fn measure(scale: Scale, report: &mut Report) {
    let server = Server::start();
    let mut clients = [Wire::connect(&server), Wire::connect(&server)];
    let lock = OWNERS.map(lock_words);
    let list = OWNERS.map(list_words);
    let (mut p50, mut p99) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
    // The first pair of rounds warms up. The number of hand-offs is even, so the first client holds again at the end.
    for number in 0..=scale.rounds {
        if number % 10 == 0 {
            progress(&format!("hand-off, round {number} of {}", scale.rounds));
        }
        clients[0].ask(&command(&["LOCK.ACQUIRE", KEY, OWNERS[0], "PX", "30000"]));
        let locks = round(&mut clients, &lock, scale.handoffs);
        assert_eq!(clients[0].ask(&lock[0].hand_over), 1);
        let lists = round(&mut clients, &list, scale.handoffs);
        if number > 0 {
            for (side, times) in [locks, lists].iter().enumerate() {
                p50[side].push(quantile(times, 0.5) / 1000.0);
                p99[side].push(quantile(times, 0.99) / 1000.0);
            }
        }
    }
    let title = format!("Hand-off, median of {} rounds of {} (quartiles)", scale.rounds, scale.handoffs);
    let columns = ["quantile", "LOCK.RELEASE to the waiter, us", "LPUSH to BLPOP, us", "ratio of a round"];
    let mut table = Table::new(&title, &columns);
    for (name, sides) in [("p50", p50), ("p99", p99)] {
        let ratio = Cell::quartiles(sides[0].iter().zip(&sides[1]).map(|(lock, list)| lock / list).collect());
        let [lock, list] = sides.map(Cell::quartiles);
        table.row(vec![name.into(), Entry::Number(lock, 2), Entry::Number(list, 2), Entry::Number(ratio, 3)]);
        report.goal(&format!("hand-off {name} / BLPOP's"), ratio.median, MOST);
    }
    report.table(table);
    report.note(
        "From the holder's write to the next one's read, both in one thread over loopback, so each time holds two wake-ups. \
         The ratio is the result; the times are those of this machine.",
    );
}
