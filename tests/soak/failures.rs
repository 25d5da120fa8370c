//! Somebody who breaks things: kills and stops servers, kills clients, pauses, removes locks, sets clocks, fails over.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use support::{args, poll, Server, Value, WallClock};

use crate::chance::Chance;
use crate::history::{Act, Asked, Deed, Halt, Lock, Reply, Term, NEVER};
use crate::run::{settings, Place, Plan, Scene};
use crate::traffic::{understood, words};
use crate::view::{described, listen};

/// How long the end of everything may take: the longest lease, and a machine that is busy.
const OVER: Duration = Duration::from_secs(30);
/// For how long timers may be late after the wall clock was set back: the server keeps its timers by it, and the module looks
/// ten times a second whether one is overdue.
const CLOCK_GRACE_US: u64 = 400_000;

/// Something that can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// kill -9, then a start with the AOF.
    Kill,
    /// SIGSTOP for a while.
    Stop,
    /// CLIENT KILL of any client.
    KillClient,
    /// A release and the CLIENT KILL of the next in the queue in one transaction.
    KillInLine,
    /// CLIENT PAUSE WRITE.
    PauseWrites,
    /// CLIENT PAUSE ALL.
    PauseAll,
    /// DEL or UNLINK of a lock.
    Remove,
    /// FLUSHALL.
    Flush,
    /// SWAPDB.
    Swap,
    /// DEBUG RELOAD.
    Reload,
    /// BGREWRITEAOF.
    RewriteAof,
    /// BGSAVE.
    Save,
    /// Too few replicas for a write.
    FewReplicas,
    /// The wall clock is set.
    SetClock,
    /// The replica is promoted, and then the old primary made its replica, or the other way round.
    Failover,
}

impl Failure {
    /// What can fail at a server without a replica.
    pub const ALONE: [Failure; 15] = [
        Failure::Kill,
        Failure::Kill,
        Failure::Stop,
        Failure::KillClient,
        Failure::KillInLine,
        Failure::PauseWrites,
        Failure::PauseAll,
        Failure::Remove,
        Failure::Remove,
        Failure::Flush,
        Failure::Swap,
        Failure::Reload,
        Failure::RewriteAof,
        Failure::Save,
        Failure::FewReplicas,
    ];
}

/// Who does it.
pub struct Operator {
    scene: Arc<Scene>,
    servers: Vec<Server>,
    locks: Vec<Lock>,
    failures: Vec<Failure>,
    chance: Chance,
    clock: Option<WallClock>,
    /// Which server is the primary, and in which term.
    primary: usize,
    term: usize,
}

impl Operator {
    /// Starts the servers.
    pub fn start(scene: &Arc<Scene>, plan: &Plan, locks: &[Lock]) -> Operator {
        let clock = plan.failures.contains(&Failure::SetClock).then(WallClock::new);
        let first = match &clock {
            Some(clock) => settings(plan).clock(clock).start(),
            None => settings(plan).start(),
        };
        let mut servers = vec![first];
        if plan.has_replica {
            let replica = settings(plan).replica_of(&servers[0]).start();
            let is_up = || replica.info_field("replication", "master_link_status") == "up";
            support::until("the replica is in step", is_up);
            servers.push(replica);
        }
        let mut operator = Operator {
            scene: Arc::clone(scene),
            servers,
            locks: locks.to_vec(),
            failures: plan.failures.clone(),
            chance: Chance::of(plan.seed, 1),
            clock,
            primary: 0,
            term: 0,
        };
        operator.begin_term(0);
        operator
    }

    /// Something fails, and again, until the time is over.
    pub fn break_things(&mut self, end: Instant) {
        loop {
            let pause = Duration::from_millis(self.chance.from(20, 350));
            if self.failures.is_empty() {
                thread::sleep(end.saturating_duration_since(Instant::now()));
            }
            if Instant::now() + pause >= end {
                return;
            }
            thread::sleep(pause);
            let failure = *self.chance.one_of(&self.failures);
            self.fail(failure);
        }
    }

    fn fail(&mut self, failure: Failure) {
        match failure {
            Failure::Kill => self.kill(),
            Failure::Stop => {
                let length = self.chance.from(20, 400);
                let server = self.server();
                self.scene.recorder.halted("stopped", || {
                    server.sigstop();
                    thread::sleep(Duration::from_millis(length));
                    server.sigcont();
                    // It is itself again when it answers.
                    server.cmd(&["PING"]);
                });
            }
            Failure::KillClient => self.kill_client(),
            Failure::KillInLine => self.kill_in_line(),
            Failure::PauseWrites => {
                let length = self.chance.from(20, 400);
                self.scene.recorder.halted("writes are paused", || {
                    self.say(0, &args!["CLIENT", "PAUSE", 60_000, "WRITE"]);
                    thread::sleep(Duration::from_millis(length));
                    self.say(0, &args!["CLIENT", "UNPAUSE"]);
                });
            }
            Failure::PauseAll => {
                let length = self.chance.from(20, 300);
                self.scene.recorder.halted("all is paused", || {
                    self.say(0, &args!["CLIENT", "PAUSE", length, "ALL"]);
                    self.say(0, &args!["PING"]);
                });
            }
            Failure::Remove => {
                let lock = self.chance.one_of(&self.locks).clone();
                let name = *self.chance.one_of(&["DEL", "UNLINK"]);
                let command = args![name, lock.name];
                let db = lock.db;
                self.scene.recorder.act(Deed::Remove(lock), || self.say(db, &command));
            }
            Failure::Flush => {
                let how = *self.chance.one_of(&["SYNC", "ASYNC"]);
                self.scene.recorder.act(Deed::Flush, || self.say(0, &args!["FLUSHALL", how]));
            }
            Failure::Swap => {
                self.scene.recorder.act(Deed::Swap, || self.say(0, &args!["SWAPDB", 0, 1]));
            }
            Failure::Reload => {
                self.scene.recorder.halted("the data set is loaded again", || {
                    self.scene.recorder.act(Deed::Load, || self.say(0, &args!["DEBUG", "RELOAD"]));
                });
            }
            Failure::RewriteAof => self.note("BGREWRITEAOF", || self.say(0, &args!["BGREWRITEAOF"])),
            Failure::Save => self.note("BGSAVE", || self.say(0, &args!["BGSAVE", "SCHEDULE"])),
            Failure::FewReplicas => {
                let length = self.chance.from(50, 400);
                self.scene.recorder.halted("too few replicas", || {
                    self.say(0, &args!["CONFIG", "SET", "min-replicas-to-write", 5]);
                    thread::sleep(Duration::from_millis(length));
                    self.say(0, &args!["CONFIG", "SET", "min-replicas-to-write", 0]);
                });
            }
            Failure::SetClock => self.set_clock(),
            Failure::Failover => self.fail_over(),
        }
    }

    fn server(&self) -> &Server {
        &self.servers[self.primary]
    }

    /// A command of the operator's, on a connection that is its own.
    fn say(&self, db: u32, command: &[Vec<u8>]) -> Value {
        let mut client = self.server().client();
        if db > 0 {
            client.select(db);
        }
        client.cmd(command)
    }

    fn note(&self, what: &str, body: impl FnOnce() -> Value) {
        self.scene.recorder.act(Deed::Other(what.to_owned()), body);
    }

    fn begin_term(&mut self, server: usize) {
        let recorder = &self.scene.recorder;
        self.primary = server;
        let term = Term { server, ended_us: NEVER, superseded_us: NEVER };
        self.term = {
            let mut notes = recorder.notes();
            notes.terms.push(term);
            notes.terms.len() - 1
        };
        let port = self.server().port();
        listen(&self.scene, port, self.term).expect("MONITOR");
        self.scene.announce(Some(Place { port, term: self.term }));
    }

    fn end_term(&self) {
        let now = self.scene.recorder.now_us();
        self.scene.recorder.notes().terms[self.term].ended_us = now;
    }

    fn kill(&mut self) {
        let scene = Arc::clone(&self.scene);
        scene.announce(None);
        scene.recorder.halted("killed", || {
            scene.recorder.act(Deed::Load, || {
                self.server().kill9();
                self.end_term();
                self.server().restart();
            });
        });
        self.begin_term(self.primary);
    }

    fn kill_client(&mut self) {
        let open: Vec<(usize, String)> = {
            let notes = self.scene.recorder.notes();
            let ours = notes.connections.iter().enumerate();
            let ours = ours.filter(|(_, one)| one.term == self.term && one.closing_us == NEVER);
            ours.map(|(n, one)| (n, one.address.clone())).collect()
        };
        if open.is_empty() {
            return;
        }
        let (n, address) = self.chance.one_of(&open).clone();
        let now = self.scene.recorder.now_us();
        self.scene.recorder.notes().connections[n].closing_us = now;
        self.note("CLIENT KILL", || self.say(0, &args!["CLIENT", "KILL", "ADDR", address]));
    }

    /// In one transaction: looks at a lock, releases it for its holder, and kills the next in the queue. The grant that the release
    /// made finds nobody.
    fn kill_in_line(&mut self) {
        // Somebody must be in the queue for it.
        let locks = self.locks.clone();
        let _ = poll(Duration::from_millis(500), || locks.iter().any(|lock| self.kills_in_line(lock)).then_some(()));
    }

    /// True if it was tried.
    fn kills_in_line(&self, lock: &Lock) -> bool {
        let Some(seen) = described(&self.say(lock.db, &args!["LOCK.INFO", lock.name])) else { return false };
        let (Some(holder), Some(next)) = (seen.holders.first(), seen.queue.first()) else { return false };
        let Some((connection, address)) = self.only_request_of(lock, next) else { return false };
        let mut client = self.server().client();
        if lock.db > 0 {
            client.select(lock.db);
        }
        let recorder = &self.scene.recorder;
        let number = recorder.connected(client.address(), self.term);
        let asked = Asked::Release { fence: Some(holder.fence) };
        let release: Vec<Vec<u8>> = words(lock, &holder.owner, &asked).into_iter().map(String::into_bytes).collect();
        let op = recorder.called("operator", number, lock, &holder.owner, asked);
        let call_us = recorder.now_us();
        let (look, kill) = (args!["LOCK.INFO", lock.name], args!["CLIENT", "KILL", "ADDR", address]);
        let (multi, exec) = (args!["MULTI"], args!["EXEC"]);
        let replies = client.pipeline(&[&multi[..], &look[..], &release[..], &kill[..], &exec[..]]);
        if let Value::Array(exec) = &replies[4] {
            recorder.returned(op, understood(&exec[1]));
            let was_in_line = described(&exec[0]).is_some_and(|seen| seen.queue.contains(next));
            if exec[2] == 1 {
                recorder.notes().connections[connection].closing_us = call_us;
            }
            if exec[2] == 1 && was_in_line {
                let deed = Deed::KillInLine { lock: lock.clone(), owner: next.clone() };
                let ret_us = recorder.now_us();
                recorder.notes().acts.push(Act { deed, call_us, ret_us });
            }
        }
        recorder.closed(number);
        true
    }

    /// The connection of the only request that this owner ever made, if it is open.
    fn only_request_of(&self, lock: &Lock, owner: &str) -> Option<(usize, String)> {
        let notes = self.scene.recorder.notes();
        let mut theirs = notes.ops.iter().filter(|op| op.owner == owner);
        let op = theirs.next()?;
        let is_only = theirs.next().is_none() && op.lock == *lock && op.reply == Reply::Unknown && owner.contains('-');
        let connection = &notes.connections[op.connection];
        let is_open = connection.closing_us == NEVER && connection.term == self.term;
        (is_only && is_open).then(|| (op.connection, connection.address.clone()))
    }

    fn set_clock(&mut self) {
        let Some(clock) = &self.clock else { return };
        let steps = [-1800, -60, -2, 0, 3, 90, 1800];
        let seconds = *self.chance.one_of(&steps);
        self.scene.recorder.act(Deed::SetClock, || clock.set_off_by(seconds));
        let from_us = self.scene.recorder.now_us();
        let halt = Halt { why: "the clock was set", from_us, to_us: from_us + CLOCK_GRACE_US };
        self.scene.recorder.notes().halts.push(halt);
    }

    fn fail_over(&mut self) {
        let (old, new) = (self.primary, 1 - self.primary);
        let (old_port, new_port) = (self.servers[old].port(), self.servers[new].port());
        let is_planned = self.chance.percent(50);
        let beside = Duration::from_millis(self.chance.from(0, 200));
        let scene = Arc::clone(&self.scene);
        let old_term = self.term;
        scene.announce(None);
        let demote = |operator: &Operator| {
            let command = args!["REPLICAOF", "127.0.0.1", new_port];
            operator.servers[old].cmd(&command);
            // As Sentinel does: who is connected looks for the new primary.
            operator.servers[old].cmd(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
            operator.servers[old].reconfigure(|settings| settings.config(format!("replicaof 127.0.0.1 {new_port}")));
            let now = scene.recorder.now_us();
            scene.recorder.notes().terms[old_term].ended_us = now;
        };
        scene.recorder.halted("a failover", || {
            if is_planned {
                scene.recorder.notes().terms[old_term].superseded_us = scene.recorder.now_us();
                demote(self);
            }
            scene.recorder.act(Deed::Promote, || {
                let now = scene.recorder.now_us();
                let before = scene.recorder.notes().terms[old_term].superseded_us;
                scene.recorder.notes().terms[old_term].superseded_us = before.min(now);
                self.servers[new].cmd(&["REPLICAOF", "NO", "ONE"]);
                self.servers[new].reconfigure(|settings| settings.config("replicaof no one"));
            });
            self.begin_term(new);
        });
        if !is_planned {
            // For a moment both grant.
            thread::sleep(beside);
            demote(self);
        }
        debug_assert_ne!(old_port, new_port);
        let up =
            poll(OVER, || (self.servers[old].info_field("replication", "master_link_status") == "up").then_some(()));
        if up.is_none() {
            scene.recorder.wrong("the old primary did not become a replica".to_owned());
        }
    }

    /// Everybody has gone: nobody waits, and every lease ends. What is wrong with that.
    pub fn until_all_over(&mut self) -> Vec<String> {
        let mut wrong = Vec::new();
        let server = self.server();
        let left = || {
            let locks = server.info("redislock");
            let number = |name: &str| locks.get(name).cloned().unwrap_or_default();
            let (held, waiters) = (number("redislock_locks_held"), number("redislock_waiters"));
            (held, waiters, server.blocked(), server.info("keyspace").len())
        };
        let none = ("0".to_owned(), "0".to_owned(), 0, 0);
        if poll(OVER, || (left() == none).then_some(())).is_none() {
            wrong.push(format!("left at the end: (locks held, waiters, blocked clients, databases) = {:?}", left()));
        }
        for server in &self.servers {
            if !server.is_alive() {
                wrong.push("a server is dead".to_owned());
            }
            for line in server.log().lines() {
                let line = line.to_lowercase();
                if ["crash", "assertion", "panic", "bug report"].iter().any(|word| line.contains(word)) {
                    wrong.push(format!("the log says {line}"));
                }
            }
        }
        if let [one, other] = &self.servers[..] {
            let (primary, replica) = if self.primary == 0 { (one, other) } else { (other, one) };
            support::until_synced(primary, replica);
            if support::digest(primary) != support::digest(replica) {
                wrong.push("the replica differs from its primary at the end".to_owned());
            }
        }
        wrong
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        // A client that waits for a server that is stopped would wait for ever.
        for server in &self.servers {
            if server.is_alive() && support::process_state(server.pid()) == Some('T') {
                server.sigcont();
            }
        }
    }
}
