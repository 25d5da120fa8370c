//! Nothing grows with the number of locks or waiters: the same work beside few and beside many.

use crate::bench::callgrind::{Callgrind, COMMANDS};
use crate::bench::progress;
use crate::bench::report::{Cell, Entry, Report, Table};
use crate::bench::wire::{command, Wire};
use crate::pairs::key;
use crate::Scale;
use support::Server;

/// The rows.
const NAMES: [&str; 4] = [
    "beside other locks with later ends",
    "beside other locks with earlier ends",
    "beside waiters for another lock",
    "leaving the middle of a queue and joining its end",
];

const OWNER: &str = "owner-0123456789";
/// Leases that do not end while anything is counted.
const HOUR: &str = "3600000";
const DAY: &str = "86400000";

/// Holds `count` other locks.
fn hold_others(wire: &mut Wire, count: usize, lease: &str) {
    let names: Vec<usize> = (1_000_000..1_000_000 + count).collect();
    for some in names.chunks(50) {
        let batch = some.iter().flat_map(|i| command(&["LOCK.ACQUIRE", &key(*i), OWNER, "PX", lease]));
        wire.send(&batch.collect::<Vec<u8>>());
        some.iter().for_each(|_| assert!(wire.read().int() > 0));
    }
}

/// Acquires and releases, 25 pairs in a write, 1000 keys one after the other.
fn acquire_and_release(wire: &mut Wire, pairs: usize, lease: &str) {
    let pair = |i| {
        let acquire = command(&["LOCK.ACQUIRE", &key(i), OWNER, "PX", lease]);
        [acquire, command(&["LOCK.RELEASE", &key(i), OWNER])].concat()
    };
    let pairs_of_all: Vec<Vec<u8>> = (0..1000).map(pair).collect();
    for batch in pairs_of_all.chunks(25).cycle().take(pairs / 25) {
        wire.send(&batch.concat());
        (0..50).for_each(|_| assert!(wire.read().int() > 0));
    }
}

/// Clients that wait for a lock that somebody holds; each under its own owner.
struct Queue {
    waiting: std::collections::VecDeque<(Wire, Vec<u8>, Vec<u8>)>,
}

const QUEUED: &str = "lock:queued-here";

impl Queue {
    fn of(server: &Server, control: &mut Wire, count: usize) -> Queue {
        control.ask(&command(&["LOCK.ACQUIRE", QUEUED, OWNER, "PX", DAY]));
        let mut queue = Queue { waiting: Default::default() };
        for i in 0..count {
            let owner = format!("waiter-{i:09}");
            let join = command(&["LOCK.ACQUIRE", QUEUED, &owner, "PX", HOUR, "BLOCK", DAY]);
            let mut wire = Wire::connect(server);
            // A server takes a few new connections a turn only; this one it has then taken.
            wire.settle();
            wire.send(&join);
            queue.waiting.push_back((wire, join, command(&["LOCK.RELEASE", QUEUED, &owner])));
        }
        control.settle();
        queue
    }

    /// The one in the middle is withdrawn by its owner's RELEASE, and joins again at the end.
    fn leave_and_join(&mut self, control: &mut Wire) {
        let (mut wire, join, withdraw) = self.waiting.remove(self.waiting.len() / 2).unwrap();
        assert_eq!(control.ask(&withdraw), 0);
        assert!(wire.read().is_nil());
        wire.send(&join);
        control.settle();
        self.waiting.push_back((wire, join, withdraw));
    }
}

/// Fills the table "crowd".
pub fn measure(callgrind: &Callgrind, scale: Scale, report: &mut Report) {
    let columns: Vec<&str> = std::iter::once("what").chain(["how many", "instructions"].repeat(4)).collect();
    let mut table = Table::new("Instructions beside other locks and waiters", &columns);
    let pairs = scale.pairs - scale.pairs % 25;
    let plain = Server::builder();
    let beside_locks = |(count, others, own): (usize, &str, &str)| {
        callgrind.count(COMMANDS, (pairs, &plain), |server, pairs| {
            let mut wire = Wire::connect(server);
            hold_others(&mut wire, count, others);
            acquire_and_release(&mut wire, pairs, own);
        })
    };
    let mut line = |name: &str, counts: [usize; 4], count_one: &dyn Fn(usize) -> f64| {
        let cells = counts.map(|count| {
            progress(&format!("{name}: {count}"));
            [count.into(), Entry::Number(Cell::one(count_one(count)), 0)]
        });
        table.row(std::iter::once(name.into()).chain(cells.into_iter().flatten()).collect());
    };
    line(NAMES[0], scale.locks, &|count| beside_locks((count, DAY, HOUR)));
    line(NAMES[1], scale.locks, &|count| beside_locks((count, HOUR, DAY)));
    line(NAMES[2], scale.waiters, &|waiters| {
        callgrind.count(COMMANDS, (pairs, &plain), |server, pairs| {
            let mut control = Wire::connect(server);
            let _queue = Queue::of(server, &mut control, waiters);
            acquire_and_release(&mut control, pairs, HOUR);
        })
    });
    line(NAMES[3], scale.waiters, &|waiters| {
        callgrind.count(COMMANDS, (pairs / 5, &plain), |server, steps| {
            let mut control = Wire::connect(server);
            let mut queue = Queue::of(server, &mut control, waiters + 1);
            (0..steps).for_each(|_| queue.leave_and_join(&mut control));
        })
    });
    report.table(table);
    report.note(
        "Counted while commands run and while unblocked clients are answered. The first three rows are an acquire and a \
         release of a free lock; the last is a RELEASE that withdraws the waiter in the middle, its answer, and its joining \
         again. Where others end later, the counted lock's end is the next to come: it rises to the top of the deadlines and \
         sets the timer. From none to one costs a look into tables that were empty; from one on the log of the number.",
    );
}
