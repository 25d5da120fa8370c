//! What a waiter takes of the server's memory, and that it is given back.

use std::time::{Duration, Instant};

use crate::bench::clients::{all_say, connect, hold, memory, owner, roomy, until_number, DAY, FILES, PATIENCE};
use crate::bench::progress;
use crate::bench::report::{Cell, Entry, Report, Table};
use crate::bench::wire::{command, Wire};
use crate::Scale;
use support::{poll, Server};

const KEY: &str = "lock:waited-for-";
/// What a waiter may take of the module's own allocations.
const BOUND: f64 = 512.0;
/// Redis looks at every client once a second, and takes one for idle after two.
const QUIET: Duration = Duration::from_secs(4);

/// What the clients wait with.
#[derive(Clone, Copy, PartialEq)]
enum Wait {
    /// A command that blocks the client, and of which the module keeps nothing.
    Bare,
    Limited,
    Unlimited,
    Shared,
}

impl Wait {
    fn name(self) -> &'static str {
        match self {
            Wait::Bare => "blocked, the module keeps nothing",
            Wait::Limited => "LOCK.ACQUIRE with a wait limit",
            Wait::Unlimited => "LOCK.ACQUIRE without",
            Wait::Shared => "LOCK.ACQUIRE SHARED behind a writer, with a wait limit",
        }
    }

    fn words(self, i: usize) -> Vec<u8> {
        let owner = owner(i);
        match self {
            Wait::Bare => command(&["LOCK.__FAILPOINT", "block"]),
            Wait::Limited => command(&["LOCK.ACQUIRE", KEY, &owner, "PX", DAY, "BLOCK", DAY]),
            Wait::Unlimited => command(&["LOCK.ACQUIRE", KEY, &owner, "PX", DAY, "BLOCK", "0"]),
            Wait::Shared => command(&["LOCK.ACQUIRE", KEY, &owner, "PX", DAY, "BLOCK", DAY, "SHARED"]),
        }
    }
}

/// Bytes: of a waiter, of its command's arguments, and of what is left of all waiters; and when.
struct Taken {
    each: f64,
    arguments: f64,
    left: i64,
    seconds: f64,
}

impl Taken {
    /// Of a waiter, less its arguments.
    fn of_client(&self) -> f64 {
        self.each - self.arguments
    }
}

/// [`wait`] of every kind; at the same time as far as this process may open files.
fn wait_all(count: usize) -> Vec<(Wait, Taken)> {
    let kinds = [Wait::Bare, Wait::Limited, Wait::Unlimited, Wait::Shared];
    let together = (FILES as usize / count).clamp(1, kinds.len());
    let run = |some: &[Wait]| {
        std::thread::scope(|scope| {
            let runs: Vec<_> = some.iter().map(|kind| (*kind, scope.spawn(move || wait(*kind, count)))).collect();
            runs.into_iter().map(|(kind, run)| (kind, run.join().unwrap())).collect::<Vec<_>>()
        })
    };
    kinds.chunks(together).flat_map(run).collect()
}

/// `count` clients wait, then close their connections.
fn wait(wait: Wait, count: usize) -> Taken {
    progress(&format!("memory of waiters: {count}, {}", wait.name()));
    let server = roomy(Server::builder().faulty_module()).start();
    let mut control = Wire::connect(&server);
    // Else Redis makes the buffers of idle clients smaller, for seconds.
    control.ask(&command(&["DEBUG", "REPLYBUFFER", "RESIZING", "0"]));
    hold(&mut control, KEY);
    let start = memory(&mut control);
    let mut clients = connect(&server, count);
    let arguments = arguments(wait, &mut clients, &mut control);
    let connected = settled_memory(&mut control);
    all_say(&mut clients, &mut control, |i| wait.words(i));
    until_number(&mut control, "clients", "blocked_clients", |blocked| blocked == count as i64);
    let each = (settled_memory(&mut control) - connected) as f64 / count as f64;
    drop(clients);
    until_number(&mut control, "clients", "connected_clients", |clients| clients == 1);
    let gone = Instant::now();
    let left = settled_memory(&mut control) - start;
    Taken { each, arguments, left, seconds: gone.elapsed().as_secs_f64() }
}

/// The server's memory, when it has given back what it keeps in reserve for the next ones, and the buffers of clients that
/// have been idle for a while. Both it does by the clock.
fn settled_memory(control: &mut Wire) -> i64 {
    let (mut last, mut since) = (memory(control), Instant::now());
    poll(PATIENCE, || {
        let now = memory(control);
        if now < last {
            (last, since) = (now, Instant::now());
        }
        (since.elapsed() > QUIET).then_some(())
    });
    memory(control)
}

/// What the server takes for the command's arguments, which it keeps as long as a client is blocked: it keeps them in the
/// same way in a transaction that was not run yet, beside what the transaction takes.
fn arguments(wait: Wait, clients: &mut [Wire], control: &mut Wire) -> f64 {
    // The first time also fills buffers that stay.
    let [_, none, some] = [wait.words(0), b"TIME\r\n".to_vec(), wait.words(0)].map(|words| {
        all_say(clients, control, |_| [b"MULTI\r\n", &words[..]].concat());
        let taken = memory(control);
        all_say(clients, control, |_| b"DISCARD\r\n".to_vec());
        clients.iter_mut().for_each(|client| (0..3).for_each(|_| drop(client.read())));
        taken
    });
    (some - none) as f64 / clients.len() as f64
}

/// Fills the table of waiters, and the bound on what they take of the module.
pub fn measure(scale: Scale, report: &mut Report) {
    let columns = [
        "waiters",
        "what they do",
        "bytes each",
        "of these arguments",
        "of these the module's",
        "left after all closed",
        "seconds until then",
    ];
    let mut table = Table::new("Memory of a waiter", &columns);
    for &count in scale.waiters {
        let all = wait_all(count);
        let bare = all.iter().find(|(kind, _)| *kind == Wait::Bare).map_or(0.0, |(_, bare)| bare.of_client());
        let mut worst = f64::MIN;
        for (kind, taken) in all {
            let own = taken.of_client() - bare;
            worst = worst.max(own);
            table.row(row(count, kind, &taken, own));
        }
        report.goal(&format!("bytes a waiter takes of the module, {count} on one lock"), worst, BOUND);
    }
    report.table(table);
    report.note(&format!(
        "`used_memory`, key and owners of 16 bytes, each client on its own connection (which is there before). The first row of \
         a block is what Redis takes for any blocked client of any module; it also keeps the arguments (measured in a \
         transaction that was not run yet, beside one of TIME). The module's own is the rest. What is left counts from before \
         the connections, when it fell no more for {} s; the first row's clients are never unblocked, so Redis keeps them. \
         Redis gives back some 500 of its blocked clients a second, and keeps 8. A client and a server may open {} files each \
         here; 100000 waiters are not tried.",
        QUIET.as_secs(),
        support::raise_open_files(),
    ));
}

fn row(count: usize, kind: Wait, taken: &Taken, own: f64) -> Vec<Entry> {
    let number = |number: f64, digits| Entry::Number(Cell::one(number), digits);
    let after = match kind {
        Wait::Bare => ["", "", ""].map(Entry::from),
        Wait::Limited | Wait::Unlimited | Wait::Shared => {
            [number(own, 0), number(taken.left as f64, 0), number(taken.seconds, 1)]
        }
    };
    let before = [count.into(), kind.name().into(), number(taken.each, 0), number(taken.arguments, 0)];
    before.into_iter().chain(after).collect()
}
