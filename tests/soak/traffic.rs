//! Random clients: each does what its own generator draws, on a connection that it loses now and then.

use std::thread;
use std::time::Duration;

use support::{args, Client, Received, Value};

use crate::chance::Chance;
use crate::history::{Asked, Lock, Options, Reply, Use};
use crate::run::Scene;

/// The longest lease that is asked for, in milliseconds.
pub const LEASE_MAX_MS: u64 = 1800;
/// How long a client waits at most before it hangs up, in milliseconds.
const WAIT_MAX_MS: u64 = 2000;
/// A reply that takes longer than this beyond the wait asked for is one that never comes.
const HANGS: Duration = Duration::from_secs(30);
/// Owners that several clients use.
const COMMON: [&str; 2] = ["a", "b"];

/// One client.
struct Customer<'a> {
    scene: &'a Scene,
    name: String,
    chance: Chance,
    line: Option<Line>,
    /// How many owners it made.
    owners: u64,
}

/// A connection.
struct Line {
    client: Client,
    number: usize,
    db: u32,
}

/// A client's life, until the scene stops.
pub fn live(scene: &Scene, locks: &[Lock], seed: u64, n: u64) {
    let mut customer =
        Customer { scene, name: format!("c{n}"), chance: Chance::of(seed, 100 + n), line: None, owners: 0 };
    while !scene.is_stopped() {
        let lock = customer.chance.one_of(locks).clone();
        customer.visit(locks, &lock);
        customer.rest(4);
    }
    customer.hang_up();
}

impl Customer<'_> {
    /// Asks for a lock or for several, and does something with it.
    fn visit(&mut self, locks: &[Lock], lock: &Lock) {
        let is_common = self.chance.percent(30);
        let owner = if is_common {
            (*self.chance.one_of(&COMMON)).to_owned()
        } else {
            self.owners += 1;
            format!("{}-{}", self.name, self.owners)
        };
        if self.chance.percent(12) {
            return self.visit_together(locks, lock.db, &owner);
        }
        let asked = self.request();
        match self.chance.from(0, 99) {
            // The reply is lost: the connection closes at once.
            0..=4 => {
                self.send_and_hang_up(lock, &owner, asked);
                if self.chance.percent(50) {
                    let again = self.request();
                    if let Reply::Fence(fence) = self.ask(lock, &owner, again) {
                        self.hold(lock, &owner, fence, false);
                    }
                }
                return;
            }
            // Something about a hold that this client may not have.
            5..=14 => {
                let asked = self.meddling();
                self.ask(lock, &owner, asked);
                return;
            }
            _ => {}
        }
        let is_alone = matches!(asked, Asked::Acquire { is_shared: false, .. });
        if let Reply::Fence(fence) = self.ask(lock, &owner, asked) {
            self.hold(lock, &owner, fence, is_alone && !is_common);
        } else {
            self.rest(8);
        }
    }

    /// Asks for all locks of a database together, in some order, and does something with them.
    fn visit_together(&mut self, locks: &[Lock], db: u32, owner: &str) {
        let mut locks: Vec<Lock> = locks.iter().filter(|lock| lock.db == db).cloned().collect();
        let first = self.chance.from(0, locks.len() as u64 - 1);
        locks.rotate_left(usize::try_from(first).unwrap());
        let Asked::Acquire { is_shared, lease_ms, block_ms, is_session, options, .. } = self.request() else { return };
        let options = Options { max_ms: options.max_ms, ..Options::default() };
        let asked = Asked::Acquire { is_shared, limit: None, lease_ms, block_ms, is_session, options };
        let granted = self.ask_together(&locks, owner, &asked);
        let Some(Reply::Fence(fence)) = granted.first() else { return self.rest(8) };
        match self.chance.from(0, 9) {
            // The lease ends them.
            0 => self.rest(30),
            1 => self.hang_up(),
            // One by one.
            2 | 3 => {
                for (lock, reply) in locks.iter().zip(&granted) {
                    if let Reply::Fence(fence) = reply {
                        self.hold(lock, owner, *fence, false);
                    }
                }
            }
            _ => {
                if self.chance.percent(40) {
                    let lease_ms = Some(self.chance.from(5, 700));
                    self.ask_together(&locks, owner, &Asked::Extend { lease_ms, fence: None });
                }
                if let (true, Some(lock)) = (self.chance.percent(50), locks.first()) {
                    let asked = Asked::Extend { lease_ms: Some(300), fence: Some(*fence) };
                    self.ask(lock, owner, asked);
                }
                self.rest(20);
                self.ask_together(&locks, owner, &Asked::Release { fence: None });
            }
        }
    }

    /// Sends a command about several locks, and waits for its reply or loses patience. Returns what it says of each lock.
    fn ask_together(&mut self, locks: &[Lock], owner: &str, asked: &Asked) -> Vec<Reply> {
        let Some(db) = locks.first().map(|lock| lock.db) else { return Vec::new() };
        let Some(()) = self.call_up(db) else { return Vec::new() };
        let Some(line) = self.line.as_mut() else { return Vec::new() };
        let words = words_together(locks, owner, asked);
        let first = self.scene.recorder.called_together(&self.name, line.number, locks, owner, asked);
        if line.client.try_send(&words).is_err() {
            self.hang_up();
            return Vec::new();
        }
        let Some(value) = self.reply_to(first, asked) else { return Vec::new() };
        let replies = understood_together(&value, locks.len());
        for (n, reply) in replies.iter().enumerate() {
            self.scene.recorder.returned(first + n, reply.clone());
        }
        if let Some(Reply::Error(text)) = replies.first() {
            self.hang_up_if_demoted(text);
        }
        replies
    }

    /// LOCK.ACQUIRE in some form.
    fn request(&mut self) -> Asked {
        let lease_ms = match self.chance.from(0, 9) {
            0 | 1 => self.chance.from(1, 20),
            2..=7 => self.chance.from(50, 300),
            _ => self.chance.from(800, LEASE_MAX_MS),
        };
        let block_ms = match self.chance.from(0, 9) {
            0..=2 => None,
            3 => Some(self.chance.from(1, 20)),
            4..=8 => Some(self.chance.from(50, 1500)),
            _ => Some(0),
        };
        let is_shared = self.chance.percent(45);
        let limit = (is_shared && self.chance.percent(60)).then(|| self.chance.from(1, 3));
        let is_session = self.chance.percent(20);
        let options = Options {
            weight: limit.filter(|_| self.chance.percent(20)).map(|limit| self.chance.from(1, limit)),
            max_ms: self.chance.percent(10).then(|| self.chance.from(20, 600)),
            delay_ms: (!is_shared && self.chance.percent(8)).then(|| self.chance.from(1, 60)),
        };
        Asked::Acquire { is_shared, limit, lease_ms, block_ms, is_session, options }
    }

    /// Something that needs a hold.
    fn meddling(&mut self) -> Asked {
        match self.chance.from(0, 4) {
            0 => Asked::Release { fence: None },
            1 => Asked::Release { fence: Some(self.chance.from(1, 9)) },
            2 => Asked::Extend { lease_ms: Some(self.chance.from(1, 900)), fence: None },
            3 => Asked::Downgrade { fence: None },
            _ => Asked::Check,
        }
    }

    /// Holds a lock for a while and gives it up, or forgets to.
    fn hold(&mut self, lock: &Lock, owner: &str, fence: u64, is_exclusive: bool) {
        for _ in 0..self.chance.from(0, 3) {
            match self.chance.from(0, 9) {
                0 | 1 if is_exclusive => self.use_resource(lock, owner, fence),
                2 => self.rest(40),
                3 => {
                    let (length, fence) = (self.chance.from(5, 700), self.chance.percent(60).then_some(fence));
                    let lease_ms = self.chance.percent(80).then_some(length);
                    self.ask(lock, owner, Asked::Extend { lease_ms, fence });
                }
                4 => {
                    self.ask(lock, owner, Asked::Check);
                }
                5 => {
                    let asked = self.request();
                    self.ask(lock, owner, asked);
                }
                6 => {
                    let fence = self.chance.percent(50).then_some(fence);
                    self.ask(lock, owner, Asked::Downgrade { fence });
                }
                // An old duplicate, or a wrong one.
                7 => {
                    let fence = Some(fence - 1);
                    self.ask(lock, owner, Asked::Release { fence });
                }
                _ => self.rest(5),
            }
        }
        if is_exclusive {
            self.use_resource(lock, owner, fence);
        }
        match self.chance.from(0, 19) {
            // The lease ends it.
            0 | 1 => self.rest(30),
            2 => self.hang_up(),
            3 => {
                self.send_and_hang_up(lock, owner, Asked::Release { fence: None });
            }
            _ => {
                let fence = self.chance.percent(40).then_some(fence);
                let asked = match self.chance.percent(8) {
                    true => Asked::Cool { fence, cool_ms: self.chance.from(1, 80) },
                    false => Asked::Release { fence },
                };
                self.ask(lock, owner, asked.clone());
                if self.chance.percent(10) {
                    // Sent twice.
                    self.ask(lock, owner, asked);
                }
            }
        }
    }

    /// Counts by one, and sometimes is stopped in the middle for longer than its lease.
    fn use_resource(&mut self, lock: &Lock, owner: &str, fence: u64) {
        let note = |is_accepted| {
            let at_us = self.scene.recorder.now_us();
            let (lock, owner) = (lock.clone(), owner.to_owned());
            self.scene.recorder.notes().uses.push(Use { lock, owner, fence, at_us, is_accepted });
        };
        let resources = &self.scene.resources;
        let Ok(count) = resources.read(lock, fence) else { return note(false) };
        let length = match self.chance.from(0, 19) {
            0 => self.chance.from(50, 600),
            1..=9 => self.chance.from(0, 2),
            _ => 0,
        };
        if length > 0 {
            thread::sleep(Duration::from_millis(length));
        }
        note(resources.write(lock, fence, count + 1).is_ok());
    }

    /// Sends a command, and waits for its reply or loses patience.
    fn ask(&mut self, lock: &Lock, owner: &str, asked: Asked) -> Reply {
        let Some(op) = self.send(lock, owner, asked.clone()) else {
            thread::sleep(Duration::from_millis(2));
            return Reply::Unknown;
        };
        let Some(value) = self.reply_to(op, &asked) else { return Reply::Unknown };
        let reply = understood(&value);
        self.scene.recorder.returned(op, reply.clone());
        if let Reply::Error(text) = &reply {
            self.hang_up_if_demoted(text);
        }
        reply
    }

    /// A server that is no primary any more is left.
    fn hang_up_if_demoted(&mut self, error: &str) {
        if error.starts_with("READONLY") || error.starts_with("UNBLOCKED") {
            self.hang_up();
        }
    }

    /// Waits for the reply to an operation, or loses patience and hangs up.
    fn reply_to(&mut self, op: usize, asked: &Asked) -> Option<Value> {
        let block_ms = match asked {
            Asked::Acquire { block_ms, .. } => *block_ms,
            _ => None,
        };
        let hangs_up_after = match block_ms {
            None => None,
            Some(0) => Some(self.chance.from(100, WAIT_MAX_MS)),
            Some(block_ms) if self.chance.percent(15) => Some(self.chance.from(0, block_ms)),
            Some(_) => None,
        };
        let line = self.line.as_mut()?;
        let within = match hangs_up_after {
            Some(ms) => Duration::from_millis(ms),
            None => HANGS + Duration::from_millis(block_ms.unwrap_or(0)),
        };
        match line.client.receive(within) {
            Received::Reply(value) => return Some(value),
            Received::Silence => {
                if hangs_up_after.is_none() {
                    self.scene.recorder.wrong(format!("no reply within {within:?} to operation {op}"));
                }
            }
            Received::Closed => {}
        }
        self.hang_up();
        None
    }

    /// Sends a command whose reply nobody will read.
    fn send_and_hang_up(&mut self, lock: &Lock, owner: &str, asked: Asked) {
        self.send(lock, owner, asked);
        match self.line.take() {
            Some(line) if self.chance.percent(50) => {
                self.scene.recorder.closed(line.number);
                line.client.reset();
            }
            Some(line) => {
                self.line = Some(line);
                self.hang_up();
            }
            None => {}
        }
    }

    /// Sends a command: the number of the operation.
    fn send(&mut self, lock: &Lock, owner: &str, asked: Asked) -> Option<usize> {
        self.call_up(lock.db)?;
        let line = self.line.as_mut()?;
        let words = words(lock, owner, &asked);
        let op = self.scene.recorder.called(&self.name, line.number, lock, owner, asked);
        if line.client.try_send(&words).is_err() {
            self.hang_up();
            return None;
        }
        Some(op)
    }

    /// Sees to it that there is a connection, with this database.
    fn call_up(&mut self, db: u32) -> Option<()> {
        if self.line.is_none() {
            let place = self.scene.place()?;
            let client = Client::connect(place.port).ok()?;
            // It may be a server that came up meanwhile.
            if self.scene.place() != Some(place) {
                return None;
            }
            let number = self.scene.recorder.connected(client.address(), place.term);
            self.line = Some(Line { client, number, db: 0 });
        }
        let line = self.line.as_mut()?;
        if line.db != db {
            line.client.set_deadline(HANGS);
            match line.client.try_cmd(&args!["SELECT", db]) {
                Ok(Value::Simple(_)) => line.db = db,
                Ok(_) | Err(_) => {
                    self.hang_up();
                    return None;
                }
            }
        }
        Some(())
    }

    fn hang_up(&mut self) {
        if let Some(line) = self.line.take() {
            self.scene.recorder.closed(line.number);
            line.client.close();
        }
    }

    fn rest(&mut self, ms_max: u64) {
        thread::sleep(Duration::from_millis(self.chance.from(0, ms_max)));
    }
}

/// The command as it is sent.
pub fn words(lock: &Lock, owner: &str, asked: &Asked) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut say = |more: &[&str]| words.extend(more.iter().map(|word| (*word).to_owned()));
    let of_fence = |fence: &Option<u64>| fence.map(|fence| fence.to_string());
    match asked {
        Asked::Acquire { is_shared, limit, lease_ms, block_ms, is_session, options } => {
            say(&["LOCK.ACQUIRE", &lock.name, owner, "PX", &lease_ms.to_string()]);
            if let Some(block_ms) = block_ms {
                say(&["BLOCK", &block_ms.to_string()]);
            }
            if *is_shared {
                say(&["SHARED"]);
            }
            if let Some(limit) = limit {
                say(&["LIMIT", &limit.to_string()]);
            }
            if *is_session {
                say(&["SESSION"]);
            }
            let Options { weight, max_ms, delay_ms } = options;
            for (word, value) in [("WEIGHT", weight), ("MAX", max_ms), ("DELAY", delay_ms)] {
                if let Some(value) = value {
                    say(&[word, &value.to_string()]);
                }
            }
        }
        Asked::Release { fence } | Asked::Cool { fence, .. } | Asked::Downgrade { fence } => {
            say(&["LOCK.RELEASE", &lock.name, owner]);
            if let Some(fence) = of_fence(fence) {
                say(&["FENCE", &fence]);
            }
            match asked {
                Asked::Downgrade { .. } => say(&["DOWNGRADE"]),
                Asked::Cool { cool_ms, .. } => say(&["COOL", &cool_ms.to_string()]),
                _ => {}
            }
        }
        Asked::Extend { lease_ms, fence } => {
            say(&["LOCK.EXTEND", &lock.name, owner]);
            if let Some(lease_ms) = lease_ms {
                say(&["PX", &lease_ms.to_string()]);
            }
            if let Some(fence) = of_fence(fence) {
                say(&["FENCE", &fence]);
            }
        }
        Asked::Check => say(&["LOCK.CHECK", &lock.name, owner]),
    }
    words
}

/// A command about several locks as it is sent: LOCK.MACQUIRE, LOCK.MRELEASE or LOCK.MEXTEND, with the options of the command
/// about one.
pub fn words_together(locks: &[Lock], owner: &str, asked: &Asked) -> Vec<String> {
    let [lock, ..] = locks else { return Vec::new() };
    let one = words(lock, owner, asked);
    let mut all = vec![one[0].replace("LOCK.", "LOCK.M"), locks.len().to_string()];
    all.extend(locks.iter().map(|lock| lock.name.clone()));
    all.extend(one.into_iter().skip(2));
    all
}

/// What a reply to a command about several locks means for each of them.
pub fn understood_together(value: &Value, count: usize) -> Vec<Reply> {
    match value {
        Value::Array(fences) if fences.len() == count => fences.iter().map(understood).collect(),
        Value::Int(0) => vec![Reply::No; count],
        Value::Int(held) if *held == i64::try_from(count).unwrap() => vec![Reply::Yes; count],
        // It is not told of which.
        Value::Int(1..) => vec![Reply::Unknown; count],
        other => vec![understood(other); count],
    }
}

/// What a reply to it means.
pub fn understood(value: &Value) -> Reply {
    match value {
        Value::Error(text) => Reply::Error(text.clone()),
        Value::Int(0) => Reply::No,
        Value::Int(1) => Reply::Yes,
        Value::Int(fence) => Reply::Fence(fence.unsigned_abs()),
        Value::Array(both) => match both.as_slice() {
            [Value::Int(fence), Value::Int(ttl)] => {
                Reply::Held { fence: fence.unsigned_abs(), ttl_ms: ttl.unsigned_abs() }
            }
            _ => Reply::Error(format!("an unknown reply: {value:?}")),
        },
        nil if nil.is_nil() => Reply::Null,
        other => Reply::Error(format!("an unknown reply: {other:?}")),
    }
}
