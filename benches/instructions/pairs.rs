//! What an uncontended acquire and release cost, beside the recipes they replace.

use crate::bench::callgrind::{Callgrind, Counted, Profile};
use crate::bench::progress;
use crate::bench::report::{Cell, Entry, Report, Table};
use crate::bench::wire::{command, Wire};
use crate::Scale;
use support::{floor_module_path, until_synced, Server, ServerBuilder};

const OWNER: &str = "owner-0123456789";
/// The usual way to release: delete the key if it still holds the owner.
const SCRIPT: &str = "if redis.call('get',KEYS[1]) == ARGV[1] then return redis.call('del',KEYS[1]) else return 0 end";
/// Keys take turns.
const KEYS: usize = 1000;

#[derive(Clone, Copy, PartialEq)]
enum Pair {
    Lock,
    /// With the default lease, which is 30 s too.
    LockByDefault,
    SetDel,
    SetScript,
    /// What any module pays that keeps a value under a key: see benches/floor.
    Floor,
    FloorByDefault,
    /// Two commands of a module that do nothing.
    Nothing,
    Ping,
}

/// How the commands are sent, and where their changes go.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Way {
    /// 50 commands in one write.
    Pipelined,
    /// Each command waits for the reply to the one before.
    OneByOne,
    /// 50 commands in one write, AOF on, `appendfsync everysec`.
    Logged,
    /// 50 commands in one write, a replica follows.
    Replicated,
}

#[derive(Clone, Copy, PartialEq)]
enum Module {
    Absent,
    /// Loaded, and a lock is held meanwhile.
    InUse,
    /// The same, and a lock was once removed by DEL: from then on the module listens to the key events of everybody.
    Listening,
    /// Another one: benches/floor.
    Floor,
}

impl Pair {
    fn name(self) -> &'static str {
        match self {
            Pair::Lock => "LOCK.ACQUIRE k o PX 30000, LOCK.RELEASE k o",
            Pair::LockByDefault => "LOCK.ACQUIRE k o, LOCK.RELEASE k o",
            Pair::Floor => "FLOOR.SET k o PX 30000, FLOOR.DEL k o",
            Pair::FloorByDefault => "FLOOR.SET k o, FLOOR.DEL k o",
            Pair::Nothing => "FLOOR.NOTHING, FLOOR.NOTHING",
            Pair::SetDel => "SET k o NX PX 30000, DEL k",
            Pair::SetScript => "SET k o NX PX 30000, EVALSHA compare-and-delete",
            Pair::Ping => "PING, PING",
        }
    }

    fn commands(self, key: &str, sha: &str) -> [Vec<u8>; 2] {
        let set = command(&["SET", key, OWNER, "NX", "PX", "30000"]);
        match self {
            Pair::Lock => {
                [command(&["LOCK.ACQUIRE", key, OWNER, "PX", "30000"]), command(&["LOCK.RELEASE", key, OWNER])]
            }
            Pair::LockByDefault => [command(&["LOCK.ACQUIRE", key, OWNER]), command(&["LOCK.RELEASE", key, OWNER])],
            Pair::Floor => [command(&["FLOOR.SET", key, OWNER, "PX", "30000"]), command(&["FLOOR.DEL", key, OWNER])],
            Pair::FloorByDefault => [command(&["FLOOR.SET", key, OWNER]), command(&["FLOOR.DEL", key, OWNER])],
            Pair::Nothing => [command(&["FLOOR.NOTHING"]), command(&["FLOOR.NOTHING"])],
            Pair::SetDel => [set, command(&["DEL", key])],
            Pair::SetScript => [set, command(&["EVALSHA", sha, "1", key, OWNER])],
            Pair::Ping => [command(&["PING"]), command(&["PING"])],
        }
    }
}

impl Way {
    pub const ALL: [Way; 4] = [Way::Pipelined, Way::OneByOne, Way::Logged, Way::Replicated];

    fn name(self) -> &'static str {
        match self {
            Way::Pipelined => "pipelines of 50",
            Way::OneByOne => "one by one",
            Way::Logged => "pipelines of 50, AOF everysec",
            Way::Replicated => "pipelines of 50, one replica",
        }
    }

    fn at_once(self) -> usize {
        match self {
            Way::OneByOne => 1,
            Way::Pipelined | Way::Logged | Way::Replicated => 50,
        }
    }
}

impl Module {
    fn name(self) -> &'static str {
        match self {
            Module::Absent => "absent",
            Module::InUse => "in use",
            Module::Listening => "listening",
            Module::Floor => "the floor's",
        }
    }

    fn server(self) -> ServerBuilder {
        match self {
            Module::Absent => Server::builder().without_module(),
            Module::Floor => {
                Server::builder().without_module().config(format!("loadmodule {}", floor_module_path().display()))
            }
            Module::InUse | Module::Listening => Server::builder(),
        }
    }
}

/// The name of the i-th key, 16 bytes.
pub fn key(i: usize) -> String {
    format!("lock:{i:011}")
}

/// One measurement.
#[derive(Clone, Copy)]
struct Case {
    pair: Pair,
    way: Way,
    module: Module,
}

impl Case {
    /// The least, the median and the most of several counts.
    fn count(self, callgrind: &Callgrind, scale: Scale) -> Cell {
        progress(&format!("{}, {}, module {}", self.pair.name(), self.way.name(), self.module.name()));
        let server = match self.way {
            Way::Pipelined | Way::OneByOne | Way::Replicated => self.module.server(),
            Way::Logged => self.module.server().aof_fsync("everysec"),
        };
        let counts = (0..scale.counts).map(|_| {
            callgrind.count(Counted::Everything, (scale.pairs, &server), |server, pairs| self.work(server, pairs))
        });
        Cell::of(counts.collect())
    }

    fn work(self, server: &Server, pairs: usize) {
        let replica = (self.way == Way::Replicated).then(|| {
            let replica = self.module.server().replica_of(server).start();
            until_synced(server, &replica);
            replica
        });
        let mut wire = Wire::connect(server);
        // A lookup in an empty database costs nothing, and no database is empty.
        let held = command(&["LOCK.ACQUIRE", "held meanwhile", OWNER, "EX", "86400"]);
        match self.module {
            Module::Absent | Module::Floor => wire.ask(&command(&["SET", "held meanwhile", OWNER])),
            Module::InUse => wire.ask(&held),
            Module::Listening => {
                wire.ask(&held);
                wire.ask(&command(&["DEL", "held meanwhile"]));
                wire.ask(&held)
            }
        };
        let sha = wire.ask(&command(&["SCRIPT", "LOAD", SCRIPT])).text();
        let commands: Vec<Vec<u8>> = (0..KEYS).flat_map(|i| self.pair.commands(&key(i), &sha)).collect();
        let at_once = self.way.at_once();
        for batch in commands.chunks(at_once).cycle().take(2 * pairs / at_once) {
            wire.send(&batch.concat());
            for _ in batch {
                // A lock that was refused, or already free, would cost less.
                let reply = wire.read();
                assert!(reply != 0 && !reply.is_nil(), "{reply:?}");
            }
        }
        if let Some(replica) = replica {
            until_synced(server, &replica);
        }
    }
}

/// With what the locks are compared.
fn others(way: Way) -> Vec<(Pair, Module)> {
    let mut others = vec![(Pair::SetDel, Module::Absent), (Pair::SetScript, Module::Absent)];
    if way == Way::Pipelined {
        others.extend([(Pair::SetDel, Module::InUse), (Pair::SetDel, Module::Listening)]);
        others.extend([Pair::Floor, Pair::FloorByDefault, Pair::Nothing].map(|pair| (pair, Module::Floor)));
    }
    others
}

/// Fills the table of pairs and two of the ratios that matter.
pub fn measure(callgrind: &Callgrind, scale: Scale, report: &mut Report) {
    let columns = ["pair", "module", "how", "instructions", "LOCK pair / this", "the same net of PING"];
    let mut table = Table::new("Instructions of the server per pair of commands", &columns);
    let bare = |way| Case { pair: Pair::Ping, way, module: Module::Absent }.count(callgrind, scale);
    let pipelined = bare(Way::Pipelined);
    for way in scale.ways.iter().copied() {
        let ping = if way == Way::OneByOne { bare(way) } else { pipelined };
        let case = Case { pair: Pair::Lock, way, module: Module::InUse };
        let lock = case.count(callgrind, scale);
        table.row(row(case, lock, ["", ""].map(Entry::from)));
        if way == Way::Pipelined {
            let case = Case { pair: Pair::LockByDefault, ..case };
            let cell = case.count(callgrind, scale);
            let ratio = lock.median / cell.median;
            table.row(row(case, cell, [Entry::Number(Cell::one(ratio), 3), "".into()]));
        }
        for (pair, module) in others(way) {
            let case = Case { pair, way, module };
            let cell = case.count(callgrind, scale);
            let ratio = lock.median / cell.median;
            let net = (lock.median - ping.median) / (cell.median - ping.median);
            table.row(row(case, cell, [ratio, net].map(|ratio| Entry::Number(Cell::one(ratio), 3))));
            // The rival is a server that never heard of the module.
            match (pair, way, module) {
                (Pair::SetDel, Way::Pipelined, Module::Absent) => report.goal("LOCK pair / SET + DEL", ratio, 1.0),
                (Pair::SetScript, Way::Pipelined, Module::Absent) => {
                    report.goal("LOCK pair / SET + EVALSHA", ratio, 0.6);
                }
                _ => {}
            }
        }
        if way == Way::Pipelined || way == Way::OneByOne {
            let case = Case { pair: Pair::Ping, way, module: Module::Absent };
            table.row(row(case, ping, ["", ""].map(Entry::from)));
        }
    }
    report.table(table);
    report.note(
        "Keys and owners of 16 bytes, 1000 keys one after the other beside one more key, `save \"\"`. Without AOF and replicas nobody \
         listens to what commands replicate, and the module does not make it; the last two blocks show what it costs to make \
         it. Module \"absent\": the server does not load it. \"in use\": it does, and another lock is held. \"listening\": a lock \
         was also removed by DEL, and since then Redis tells the module the key events of all commands, SET and DEL among \
         them. The default lease is 30 s, so the second row is the same lock with fewer arguments. FLOOR.SET and FLOOR.DEL \
         are those of another module that keeps nothing: they open the key, put an empty value there or take it away, and \
         tell of the change. No module that keeps a value under a key can cost less.",
    );
    profile(callgrind, scale, report);
}

/// How many functions are named.
const NAMED: usize = 14;

/// Fills the table of where the instructions of a pair go.
fn profile(callgrind: &Callgrind, scale: Scale, report: &mut Report) {
    progress("where the instructions of a pair go");
    let case = Case { pair: Pair::Lock, way: Way::Pipelined, module: Module::InUse };
    let pairs = (scale.pairs, &case.module.server());
    let Profile { cost, calls } =
        callgrind.profile(Counted::Everything, pairs, |server, pairs| case.work(server, pairs));
    let called: f64 = calls.iter().map(|(_, cost)| cost).sum();
    let named = &calls[..NAMED.min(calls.len())];
    let others = called - named.iter().map(|(_, cost)| cost).sum::<f64>();
    let mut table = Table::new("Where the instructions of a LOCK pair go, pipelines of 50", &["what", "instructions"]);
    let mut row = |what: &str, cost: f64| table.row(vec![what.into(), Entry::Number(Cell::one(cost), 0)]);
    row("the server around the module: sockets, parsing, dispatch", cost.all - cost.own - called);
    row("the module's own code", cost.own);
    for (name, cost) in named {
        row(&format!("`{name}`"), *cost);
    }
    row("what else the module calls", others);
    report.table(table);
    report.note("A function's instructions hold those of what it calls.");
}

fn row(case: Case, cell: Cell, ratios: [Entry; 2]) -> Vec<Entry> {
    let mut row = [case.pair.name(), case.module.name(), case.way.name()].map(Entry::from).to_vec();
    row.push(Entry::Number(cell, 0));
    row.extend(ratios);
    row
}
