//! What the clients of a worker sent to Redis, counted by the server.
//!
//! INFO commandstats counts the commands inside scripts like those that clients send. Which is which is seen with MONITOR,
//! in a run of its own: a share of each command's calls came from scripts.

use std::collections::BTreeMap;

use serde::Serialize;
use support::{Server, Value};

use crate::bench::clients::until_number;
use crate::bench::wire::{command, Wire};

/// Calls by command, `client|setinfo` for a subcommand.
pub type Calls = BTreeMap<String, i64>;

/// As INFO writes it.
const ACQUIRE: &str = "lock.acquire";

/// What connecting takes, what this program asks, and what loads scripts: not what locks cost.
const NOT_COUNTED: [&str; 13] = [
    "auth", "client", "cluster", "command", "config", "echo", "flushall", "hello", "info", "monitor", "ping", "script",
    "select",
];

/// The server's counts since it started.
pub fn calls(server: &Server) -> Calls {
    let info = server.cmd(&["INFO", "commandstats"]).text();
    let line = |line: &str| {
        let (name, stats) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
        Some((name.to_owned(), stats.split(',').next()?.parse().ok()?))
    };
    let all = info.lines().filter_map(line);
    all.filter(|(name, _)| !NOT_COUNTED.contains(&name.split('|').next().unwrap_or_default())).collect()
}

/// What was called between two counts.
pub fn between(before: &Calls, after: &Calls) -> Calls {
    let new = after.iter().map(|(name, calls)| (name.clone(), calls - before.get(name).copied().unwrap_or(0)));
    new.filter(|(_, calls)| *calls != 0).collect()
}

/// Whether the server counts a wait that ended because its connection was closed. Redis 7.0 does, Valkey 9.1 does not.
pub fn counts_abandoned_waits(server: &Server) -> bool {
    let acquires = || calls(server).get(ACQUIRE).copied().unwrap_or(0);
    let [mut holder, mut waiter] = [Wire::connect(server), Wire::connect(server)];
    let wait = |owner| command(&["LOCK.ACQUIRE", "lock:abandoned", owner, "BLOCK", "0"]);
    holder.ask(&wait("holder"));
    let before = acquires();
    waiter.send(&wait("waiter"));
    until_number(&mut holder, "redislock", "redislock_waiters", |waiters| waiters == 1);
    drop(waiter);
    until_number(&mut holder, "redislock", "redislock_waiters", |waiters| waiters == 0);
    let is_counted = acquires() > before;
    holder.ask(&command(&["LOCK.RELEASE", "lock:abandoned", "holder"]));
    is_counted
}

/// The processor time of the server since it started, in microseconds, of its own and of the kernel for it.
pub fn cpu_us(server: &Server) -> f64 {
    let of = |field| server.info_field("cpu", field).parse::<f64>().unwrap();
    (of("used_cpu_user") + of("used_cpu_sys")) * 1e6
}

/// The share of each command's calls that scripts make.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Inside(BTreeMap<String, f64>);

/// Calls of commands that were not seen may be this part of all; with more of them nobody knows what clients sent.
const UNSEEN: f64 = 0.01;

impl Inside {
    /// What clients sent, of all that was called; `None` if too little was seen to tell.
    pub fn sent(&self, calls: &Calls) -> Option<f64> {
        let (mut sent, mut unseen, mut all) = (0.0, 0.0, 0.0);
        for (name, count) in calls {
            let count = *count as f64;
            all += count;
            match self.0.get(name) {
                Some(inside) => sent += count * (1.0 - inside),
                None => unseen += count,
            }
        }
        (unseen <= all * UNSEEN).then_some(sent + unseen)
    }
}

/// A connection that sees every command.
pub struct Monitor(Wire);

/// The last command that the monitor is to see.
const LAST: &str = "no-more-to-see";

impl Monitor {
    pub fn start(server: &Server) -> Monitor {
        let mut wire = Wire::connect(server);
        wire.ask(&command(&["MONITOR"]));
        Monitor(wire)
    }

    /// Reads until [`Monitor::stop`] was called.
    pub fn watch(mut self) -> Inside {
        // Calls of scripts, and all calls.
        let mut seen: BTreeMap<String, (f64, f64)> = BTreeMap::new();
        loop {
            let Value::Simple(line) = self.0.read() else { continue };
            if line.contains(LAST) {
                let share = |(name, (inside, all))| (name, inside / all);
                return Inside(seen.into_iter().map(share).collect());
            }
            let Some((who, words)) = line.split_once("] \"") else { continue };
            // INFO writes subcommands behind a bar; no peer has any that count.
            let name = words.split('"').next().unwrap_or_default().to_lowercase();
            let count = seen.entry(name).or_default();
            count.1 += 1.0;
            if who.ends_with(" lua") {
                count.0 += 1.0;
            }
        }
    }

    pub fn stop(server: &Server) {
        server.cmd(&["ECHO", LAST]);
    }
}
