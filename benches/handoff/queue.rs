//! How long a hand-off takes with more and more clients in line, beside the same with a list.
//!
//! Whoever was served goes to the end of the line before the next one is, so the line keeps its length.

use std::time::Instant;

use crate::bench::clients::{all_say, connect, owner, roomy, DAY};
use crate::bench::progress;
use crate::bench::report::{quantile, Cell, Entry, Report, Table};
use crate::bench::wire::{command, Wire};
use crate::Scale;
use support::Server;

const KEY: &str = "handoff:01234567";
/// Hand-offs of one kind in a round.
const HANDOFFS: usize = 200;

/// What hands over.
#[derive(Clone, Copy)]
enum Kind {
    Lock,
    List,
}

impl Kind {
    fn wait(self, i: usize) -> Vec<u8> {
        match self {
            Kind::Lock => command(&["LOCK.ACQUIRE", KEY, &owner(i), "PX", DAY, "BLOCK", "0"]),
            Kind::List => command(&["BLPOP", KEY, "0"]),
        }
    }

    fn hand_over(self, i: usize) -> Vec<u8> {
        match self {
            Kind::Lock => command(&["LOCK.RELEASE", KEY, &owner(i)]),
            Kind::List => command(&["RPUSH", KEY, "element"]),
        }
    }
}

/// Hand-offs along the clients, each in nanoseconds, sorted. The first is served at once, all others wait.
fn round(kind: Kind, clients: &mut [Wire], control: &mut Wire) -> Vec<f64> {
    if let Kind::Lock = kind {
        assert!(clients[0].ask(&kind.wait(0)).int() > 0);
    }
    all_say(&mut clients[1..], control, |i| kind.wait(i + 1));
    let mut times = Vec::with_capacity(HANDOFFS);
    let mut holder = 0;
    for _ in 0..HANDOFFS {
        let next = (holder + 1) % clients.len();
        control.settle();
        let start = Instant::now();
        clients[holder].send(&kind.hand_over(holder));
        let granted = clients[next].read();
        times.push(start.elapsed().as_nanos() as f64);
        assert!(!granted.is_nil(), "{granted:?}");
        assert_eq!(clients[holder].read(), 1);
        clients[holder].send(&kind.wait(holder));
        holder = next;
    }
    // All are served once more, and nobody waits.
    for _ in 1..clients.len() {
        let next = (holder + 1) % clients.len();
        assert_eq!(clients[holder].ask(&kind.hand_over(holder)), 1);
        clients[next].read();
        holder = next;
    }
    if let Kind::Lock = kind {
        assert_eq!(clients[holder].ask(&kind.hand_over(holder)), 1);
    }
    assert_eq!(control.ask(&command(&["EXISTS", KEY])), 0);
    times.sort_by(f64::total_cmp);
    times
}

/// Fills the table "hand-off in a queue".
pub fn measure(scale: Scale, report: &mut Report) {
    let server = roomy(Server::builder()).start();
    let mut control = Wire::connect(&server);
    let longest = scale.queued[scale.queued.len() - 1];
    let mut clients = connect(&server, longest + 1);
    let columns = ["waiters", "quantile", "LOCK.RELEASE to the waiter, us", "RPUSH to BLPOP, us", "ratio of a round"];
    let title = format!("Hand-off in a queue, median of {} rounds of {HANDOFFS} (quartiles)", scale.queue_rounds);
    let mut table = Table::new(&title, &columns);
    for waiters in scale.queued {
        progress(&format!("hand-off with {waiters} in line"));
        let line = &mut clients[..=*waiters];
        // The first pair of rounds warms up.
        let rounds: Vec<[Vec<f64>; 2]> = (0..=scale.queue_rounds)
            .map(|_| [Kind::Lock, Kind::List].map(|kind| round(kind, line, &mut control)))
            .skip(1)
            .collect();
        for (name, q) in [("p50", 0.5), ("p99", 0.99)] {
            let [lock, list] =
                [0, 1].map(|side| rounds.iter().map(|round| quantile(&round[side], q) / 1000.0).collect::<Vec<f64>>());
            let ratio = Cell::quartiles(lock.iter().zip(&list).map(|(lock, list)| lock / list).collect());
            let [lock, list] = [lock, list].map(Cell::quartiles);
            table.row(vec![
                (*waiters).into(),
                name.into(),
                Entry::Number(lock, 2),
                Entry::Number(list, 2),
                Entry::Number(ratio, 3),
            ]);
        }
    }
    report.table(table);
    report.note(
        "Measured like the table above. A client that was served joins the end of the queue again before the next one is served.",
    );
}
