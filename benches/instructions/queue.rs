//! What it costs to join a line, to leave it and to wait in vain, the longer the line is.

use crate::bench::callgrind::{Callgrind, Cost, Counted};
use crate::bench::clients::{all_say, connect, hold, owner, roomy, until_number, DAY, MANY_CLIENTS};
use crate::bench::progress;
use crate::bench::report::{Cell, Entry, Report, Table};
use crate::bench::wire::{command, Wire};
use crate::Scale;
use support::{Server, ServerBuilder};

const KEY: &str = "lock:waited-for-";
/// How many times as much a step may cost in the longest line as in the shortest, of which it is a hundredth.
const MOST: f64 = 1.5;
/// A wait that ends while the server is watched; long enough that all have joined when the first ends.
const SHORT: &str = "2000";

/// What stands in line, and what for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    Exclusive,
    /// Behind a writer.
    Shared,
    /// Those who join hold another lock that somebody waits for: a cycle could close over them.
    Entangled,
    /// Blocked clients of which the module keeps nothing.
    Bare,
    /// What Redis itself has: clients that wait for a list.
    List,
}

/// Every kind.
pub const ALL: [Kind; 5] = [Kind::Exclusive, Kind::Shared, Kind::Entangled, Kind::Bare, Kind::List];

/// What is counted.
#[derive(Clone, Copy, PartialEq)]
enum Step {
    Join,
    /// Connections all over the line close.
    Close,
    /// Others release the owner: its request is withdrawn.
    Withdraw,
    TimeOut,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Exclusive => "LOCK.ACQUIRE k o PX ms BLOCK ms",
            Kind::Shared => "the same SHARED, behind a writer",
            Kind::Entangled => "the same, exclusive, by holders of other locks that are waited for",
            Kind::Bare => "blocked, the module keeps nothing",
            Kind::List => "BLPOP l s",
        }
    }

    fn server(self) -> ServerBuilder {
        match self {
            Kind::Exclusive | Kind::Shared | Kind::Entangled => roomy(Server::builder()),
            Kind::Bare => roomy(Server::builder().faulty_module()),
            Kind::List => Server::builder().without_module().config(MANY_CLIENTS),
        }
    }

    fn words(self, i: usize, wait: &str) -> Vec<u8> {
        let owner = owner(i);
        match self {
            Kind::Exclusive | Kind::Entangled => command(&["LOCK.ACQUIRE", KEY, &owner, "PX", DAY, "BLOCK", wait]),
            Kind::Shared => command(&["LOCK.ACQUIRE", KEY, &owner, "PX", DAY, "BLOCK", wait, "SHARED"]),
            Kind::Bare => command(&["LOCK.__FAILPOINT", "block"]),
            Kind::List => command(&["BLPOP", KEY, &wait[..wait.len() - 3]]),
        }
    }
}

impl Step {
    fn name(self) -> &'static str {
        match self {
            Step::Join => "joining",
            Step::Close => "leaving by closing the connection",
            Step::Withdraw => "leaving by LOCK.RELEASE from another connection",
            Step::TimeOut => "waiting until the time-out",
        }
    }

    fn counted(self) -> Counted {
        match self {
            Step::Join => Counted::In(&["processCommand"]),
            Step::Close => Counted::In(&["freeClient", "moduleTimerHandler", "moduleHandleBlockedClients"]),
            Step::Withdraw => Counted::In(&["processCommand", "moduleTimerHandler", "moduleHandleBlockedClients"]),
            Step::TimeOut => {
                Counted::In(&["handleBlockedClientsTimeout", "moduleTimerHandler", "moduleHandleBlockedClients"])
            }
        }
    }
}

/// A line that `most` more can join, or leave.
struct Work {
    kind: Kind,
    step: Step,
    standing: usize,
    most: usize,
}

impl Work {
    /// Makes the line, and takes `steps` steps; all else is the same for any number of them. Returns the connections.
    fn run(&self, server: &Server, steps: usize) -> Vec<Wire> {
        let mut control = Wire::connect(server);
        if matches!(self.kind, Kind::Exclusive | Kind::Shared | Kind::Entangled) {
            hold(&mut control, KEY);
        }
        let mut clients = connect(server, self.standing + self.most);
        if self.kind == Kind::Entangled {
            clients.extend(entangle(server, &mut control, self.standing, self.most));
        }
        let (line, rest) = clients.split_at_mut(self.standing);
        match self.step {
            Step::Join => {
                all_say(line, &mut control, |i| self.kind.words(i, DAY));
                all_say(&mut rest[..steps], &mut control, |i| self.kind.words(self.standing + i, DAY));
            }
            Step::TimeOut => {
                all_say(line, &mut control, |i| self.kind.words(i, DAY));
                all_say(&mut rest[..steps], &mut control, |i| self.kind.words(self.standing + i, SHORT));
                rest[..steps].iter_mut().for_each(|client| assert!(client.read().is_nil()));
            }
            Step::Close | Step::Withdraw => {
                all_say(&mut clients, &mut control, |i| self.kind.words(i, DAY));
                self.leave(&mut clients, &mut control, steps);
            }
        }
        clients
    }

    /// `steps` of them leave, from all over the line.
    fn leave(&self, clients: &mut Vec<Wire>, control: &mut Wire, steps: usize) {
        let leave: Vec<usize> = (0..steps).map(|i| i * clients.len() / steps).collect();
        if self.step == Step::Withdraw {
            for i in leave {
                assert_eq!(control.ask(&command(&["LOCK.RELEASE", KEY, &owner(i)])), 0);
                assert!(clients[i].read().is_nil());
            }
            return;
        }
        let left = (clients.len() - steps + 1) as i64;
        for i in leave.into_iter().rev() {
            drop(clients.remove(i));
        }
        until_number(control, "clients", "connected_clients", |clients| clients == left);
    }
}

/// Each of the owners from `first` on holds a lock of its own, and one more client waits for each.
fn entangle(server: &Server, control: &mut Wire, first: usize, count: usize) -> Vec<Wire> {
    let key = |i: usize| format!("lock:{i:011}");
    for i in 0..count {
        assert!(control.ask(&command(&["LOCK.ACQUIRE", &key(i), &owner(first + i), "PX", DAY])).int() > 0);
    }
    let mut clients = connect(server, count);
    all_say(&mut clients, control, |i| {
        command(&["LOCK.ACQUIRE", &key(i), &format!("other-{i:010}"), "PX", DAY, "BLOCK", DAY])
    });
    clients
}

/// What is counted, a row each.
const LINES: [(Step, Kind); 13] = [
    (Step::Join, Kind::Exclusive),
    (Step::Join, Kind::Shared),
    (Step::Join, Kind::Entangled),
    (Step::Join, Kind::Bare),
    (Step::Join, Kind::List),
    (Step::Close, Kind::Exclusive),
    (Step::Close, Kind::Shared),
    (Step::Close, Kind::List),
    (Step::Withdraw, Kind::Exclusive),
    (Step::Withdraw, Kind::Shared),
    (Step::TimeOut, Kind::Exclusive),
    (Step::TimeOut, Kind::Shared),
    (Step::TimeOut, Kind::List),
];

/// Fills the table of lines, and the bounds on their growth.
pub fn measure(callgrind: &Callgrind, scale: Scale, report: &mut Report) {
    let beside: Vec<String> = scale.queued.iter().map(|standing| format!("instructions beside {standing}")).collect();
    let columns: Vec<&str> =
        ["what", "how they wait"].into_iter().chain(beside.iter().flat_map(|name| [name, "the module's"])).collect();
    let mut table = Table::new("Instructions of a step, beside other waiters in the same queue", &columns);
    let (shortest, longest) = (scale.queued[0], scale.queued[scale.queued.len() - 1]);
    for (step, kind) in LINES.into_iter().filter(|(_, kind)| scale.kinds.contains(kind)) {
        let count_one = |standing: &usize| {
            let standing = *standing;
            progress(&format!("{}, {}: {standing}", step.name(), kind.name()));
            let work = Work { kind, step, standing, most: 3 * scale.steps };
            callgrind.cost(step.counted(), (scale.steps, &kind.server()), |server, steps| work.run(server, steps))
        };
        let costs: Vec<Cost> = scale.queued.iter().map(count_one).collect();
        let cells = costs.iter().flat_map(|Cost { all, own }| [*all, *own]);
        let cells = cells.map(|number| Entry::Number(Cell::one(number), 0));
        table.row([step.name().into(), kind.name().into()].into_iter().chain(cells).collect());
        if matches!(kind, Kind::Exclusive | Kind::Shared) {
            let (first, last) = (&costs[0], &costs[costs.len() - 1]);
            let name = format!("{}, {}: growth from {shortest} to {longest} waiters", step.name(), kind.name());
            report.goal(&name, last.all / first.all, MOST);
            report.goal(
                &format!("{name}, of the module's own"),
                last.own / first.own,
                (longest as f64).ln() / (shortest as f64).ln(),
            );
        }
    }
    report.table(table);
    report.note(
        "\"The module's\" are the instructions of its own code, without what it asks the server and the allocator to do. The \
         bound on their growth is that of the logarithm. Joining is counted while commands run; leaving while \
         connections are freed, timers ring and unblocked clients are answered; waiting until the time-out while time-outs are handled, \
         timers ring and unblocked clients are answered, for those at the end of the queue. The search for a deadlock is bounded \
         by `deadlock-search-max`, 1000.",
    );
}
