//! What is done, drawn from the seed alone: the same seed gives the same steps, whatever the servers answer.

use crate::chance::Chance;

use super::step::{words, Deed, Step, Words};

/// The keys.
pub const KEYS: [&str; 3] = ["k1", "k2", "k3"];
/// How many databases are used.
pub const DATABASES: u32 = 3;
/// How many clients there are. The first one never waits; the last ones are of the user [`USER`].
pub const CLIENTS: usize = 10;
/// The first of the clients that are of that user.
pub const FIRST_OF_USER: usize = 7;
/// The user whose rights change.
pub const USER: &str = "app";
/// The rights that the user has at first, as the words behind ACL SETUSER.
pub const ALL_RIGHTS: &str = "reset on nopass ~* &* +@all";
/// A lease that no run outlives, in milliseconds.
const LONG_MS: u64 = 600_000;
/// The longest other lease.
const SHORT_MAX_MS: u64 = 1200;
/// The longest wait that has a limit.
const WAIT_MAX_MS: u64 = 600;
/// What is left of every TTL when a server loads what it saved.
const TTL_OVER_A_RELOAD_MS: u64 = 5000;
/// How many steps there are from one look at everything to the next.
const STEPS_TO_REST: u64 = 40;
/// Owners that several clients use.
const COMMON: [&str; 2] = ["a", "b"];

/// Draws one step after the other.
pub struct Planner {
    chance: Chance,
    steps: u64,
    owners: u64,
    /// Whether the module hears of keys that are renamed and moved.
    hears_of_moves: bool,
    /// Whether writes are paused now and then. Otherwise another module's threads and timers call, which may not write then.
    pauses: bool,
}

impl Planner {
    /// The plan of a seed.
    pub fn of_seed(seed: u64, hears_of_moves: bool) -> Planner {
        Planner { chance: Chance::of(seed, 1), steps: 0, owners: 0, hears_of_moves, pauses: !seed.is_multiple_of(3) }
    }

    /// The next step.
    pub fn next_step(&mut self) -> Step {
        self.steps += 1;
        if self.steps.is_multiple_of(STEPS_TO_REST) {
            return Step::Do(Deed::Rest);
        }
        match self.chance.from(0, 99) {
            0..=31 => self.acquire(),
            32..=47 => self.release(),
            48..=52 => self.about_a_hold(),
            53..=66 => self.together(),
            67..=74 => self.alone(),
            75..=79 => self.about_clients(),
            80..=83 => self.rights(),
            84..=87 => self.setting(),
            88..=94 => self.by_another_module(),
            _ => Step::Do(self.deed()),
        }
    }

    /// LOCK.ACQUIRE, mostly one that waits.
    fn acquire(&mut self) -> Step {
        let (client, db) = (self.client(), self.database());
        let request = self.request();
        let commands = match self.chance.from(0, 19) {
            // What comes after it runs when the wait is over.
            0 => vec![request.clone(), words(&format!("LOCK.RELEASE {} {}", request[1], request[2]))],
            1 => vec![words("MULTI"), request, words("EXEC")],
            _ => vec![request],
        };
        Step::Send { client, db, commands }
    }

    fn request(&mut self) -> Words {
        let owner = match self.chance.from(0, 19) {
            0..=3 => (*self.chance.one_of(&COMMON)).to_owned(),
            4 => "*".to_owned(),
            _ => {
                self.owners += 1;
                format!("o{}", self.owners)
            }
        };
        let mut text = format!("LOCK.ACQUIRE {} {owner}", self.key());
        match self.chance.from(0, 9) {
            0 => {}
            1..=3 => text += &format!(" PX {}", self.chance.from(1, SHORT_MAX_MS)),
            _ => text += &format!(" PX {LONG_MS}"),
        }
        match self.chance.from(0, 9) {
            0..=2 => {}
            3 | 4 => text += &format!(" BLOCK {}", self.chance.from(1, WAIT_MAX_MS)),
            _ => text += " BLOCK 0",
        }
        if self.chance.percent(30) {
            text += " SHARED";
            if self.chance.percent(60) {
                text += &format!(" LIMIT {}", self.chance.from(1, 3));
            }
        }
        if self.chance.percent(15) {
            text += " SESSION";
        }
        words(&text)
    }

    fn release(&mut self) -> Step {
        let (client, key) = (self.client(), self.key());
        let downgrade = if self.chance.percent(15) { " DOWNGRADE" } else { "" };
        self.send(client, &format!("LOCK.RELEASE {key} @holder:{key}{downgrade}"))
    }

    fn about_a_hold(&mut self) -> Step {
        let (client, key) = (self.client(), self.key());
        let text = match self.chance.from(0, 3) {
            0 => format!("LOCK.EXTEND {key} @holder:{key}"),
            1 => format!("LOCK.EXTEND {key} @holder:{key} PX {}", self.chance.from(1, SHORT_MAX_MS)),
            2 => format!("LOCK.CHECK {key} @holder:{key}"),
            _ => format!("LOCK.RELEASE {key} {}", self.chance.one_of(&COMMON)),
        };
        self.send(client, &text)
    }

    /// In one turn of the server: a hold ends, and something happens to whoever is next in the queue, or to the key.
    fn together(&mut self) -> Step {
        let key = self.key();
        let mut commands = vec![self.ending(key)];
        let is_about_clients = self.chance.percent(60);
        if is_about_clients {
            commands.push(self.blow(key));
        }
        if self.chance.percent(60) {
            commands.push(self.operation(key));
        }
        if self.chance.percent(15) {
            commands.push(self.request().join(" "));
        }
        if self.chance.percent(40) {
            self.shuffle(&mut commands);
        }
        let mut commands: Vec<Words> = commands.iter().map(|text| words(text)).collect();
        match self.chance.from(0, 9) {
            0..=6 => {
                commands.insert(0, words("MULTI"));
                commands.push(words("EXEC"));
            }
            // Scripts may not do anything to clients.
            7 | 8 if !is_about_clients => commands = vec![in_a_script(&commands)],
            _ => {}
        }
        Step::Send { client: 0, db: self.database(), commands }
    }

    fn ending(&mut self, key: &str) -> String {
        match self.chance.from(0, 9) {
            0 => format!("DEL {key}"),
            1 => format!("LOCK.EXTEND {key} @holder:{key} PX 1"),
            2 => format!("LOCK.RELEASE {key} @holder:{key} DOWNGRADE"),
            _ => format!("LOCK.RELEASE {key} @holder:{key}"),
        }
    }

    /// What happens to the first in the queue.
    fn blow(&mut self, key: &str) -> String {
        match self.chance.from(0, 9) {
            0 => format!("CLIENT UNBLOCK @next:{key} TIMEOUT"),
            1 => format!("CLIENT UNBLOCK @next:{key} ERROR"),
            2 => "CLIENT KILL TYPE normal SKIPME yes".to_owned(),
            3 => format!("ACL SETUSER {USER} resetkeys"),
            _ => format!("CLIENT KILL ID @next:{key}"),
        }
    }

    fn alone(&mut self) -> Step {
        let key = self.key();
        if self.chance.percent(15) {
            let commands = ["MULTI".to_owned(), format!("LOCK.INFO {key}"), format!("DUMP {key}"), "EXEC".to_owned()];
            let commands = commands.iter().map(|text| words(text)).collect();
            return Step::Send { client: 0, db: self.database(), commands };
        }
        let text = self.operation(key);
        self.send(0, &text)
    }

    /// Something that an operator does to keys.
    fn operation(&mut self, key: &str) -> String {
        let other = self.key();
        let others = [0, 1, 2];
        match self.chance.from(0, 17) {
            0 | 1 => format!("DEL {key} {other}"),
            2 => format!("UNLINK {key}"),
            3 => format!("SET {key} text"),
            4 | 5 => format!("PEXPIRE {key} {}", self.chance.from(1, 300)),
            6 => format!("PERSIST {key}"),
            7 => format!("RESTORE {key} 0 @dump REPLACE"),
            8 => format!("RESTORE {other} @in:{} @dump REPLACE ABSTTL", self.chance.from(1, 300)),
            9 => "FLUSHDB".to_owned(),
            10 => format!("FLUSHALL {}", self.chance.one_of(&["SYNC", "ASYNC"])),
            11 | 12 => format!("SWAPDB {} {}", self.chance.one_of(&others), self.chance.one_of(&others)),
            13 | 14 if self.hears_of_moves => format!("MOVE {key} {}", self.chance.one_of(&others)),
            15..=17 if self.hears_of_moves => format!("RENAME {key} {other}"),
            _ => format!("DEL {key}"),
        }
    }

    fn about_clients(&mut self) -> Step {
        let client = self.client();
        let text = match self.chance.from(0, 9) {
            0 | 1 => return Step::Do(Deed::HangUp(client)),
            2 => return Step::Do(Deed::Reset(client)),
            3 | 4 => format!("CLIENT KILL ID @id:{client}"),
            5 => format!("CLIENT UNBLOCK @waiting:{client} {}", self.chance.one_of(&["TIMEOUT", "ERROR"])),
            6 | 7 if self.pauses => format!("CLIENT PAUSE {} WRITE", self.chance.from(1, 80)),
            8 if self.pauses => "CLIENT UNPAUSE".to_owned(),
            _ => "CLIENT KILL TYPE normal SKIPME yes".to_owned(),
        };
        self.send(0, &text)
    }

    fn rights(&mut self) -> Step {
        let rights = match self.chance.from(0, 9) {
            0 => "resetkeys ~other:*",
            1 => "-lock.acquire",
            2 => "off",
            3 => return self.send(0, &format!("ACL DELUSER {USER}")),
            _ => ALL_RIGHTS,
        };
        self.send(0, &format!("ACL SETUSER {USER} {rights}"))
    }

    fn setting(&mut self) -> Step {
        let (name, values): (&str, &[&str]) = match self.chance.from(0, 12) {
            0 => ("redislock.default-lease", &["100", "30000"]),
            1 => ("redislock.max-waiters", &["1", "10000", "10000"]),
            2 => ("redislock.max-waiters-total", &["3", "100000", "100000"]),
            3 => ("redislock.max-holders", &["1", "10000", "10000"]),
            4 => ("redislock.deadlock-search-max", &["0", "1000"]),
            5 => ("redislock.max-lease", &["1000", "31536000000", "31536000000"]),
            6 => ("maxmemory-policy", &["noeviction", "allkeys-random", "volatile-lru", "allkeys-lru"]),
            7 => ("maxmemory", &["1", "0", "0"]),
            8 => ("appendonly", &["yes", "no"]),
            9 | 10 => return self.reload(),
            11 => {
                let command = *self.chance.one_of(&["BGREWRITEAOF", "BGSAVE"]);
                return self.send(0, command);
            }
            _ => ("min-replicas-to-write", &["1", "0", "0"]),
        };
        let value = self.chance.one_of(values);
        self.send(0, &format!("CONFIG SET {name} {value}"))
    }

    /// The primary saves, and loads what it saved. Keys whose TTL has ended by then are gone from it, and Redis does not tell its
    /// replicas, which keep them for good. So no TTL ends just then: those that have not ended go on for a while, and of those
    /// that have, the replicas are told.
    fn reload(&mut self) -> Step {
        let db = self.database();
        let mut texts = vec!["MULTI".to_owned()];
        for db in 0..DATABASES {
            texts.push(format!("SELECT {db}"));
            texts.extend(KEYS.iter().map(|key| format!("PEXPIRE {key} {TTL_OVER_A_RELOAD_MS} XX")));
        }
        texts.extend([format!("SELECT {db}"), "DEBUG RELOAD".to_owned(), "EXEC".to_owned()]);
        Step::Send { client: 0, db, commands: texts.iter().map(|text| words(text)).collect() }
    }

    /// A call by another module of the server, from anywhere.
    fn by_another_module(&mut self) -> Step {
        let (client, key) = (self.client(), self.key());
        let command = match self.chance.from(0, 9) {
            0 | 1 => format!("LOCK.RELEASE {key} @holder:{key}"),
            2 => "PING".to_owned(),
            _ => self.request().join(" "),
        };
        let user = *self.chance.one_of(&["-", "-", "-", USER]);
        let delay_ms = self.chance.from(0, 20);
        let call = match self.chance.from(0, 9) {
            0 => format!("CALLER.CALL {}", self.operation(key)),
            1 | 2 => format!("CALLER.CALL {command}"),
            3 => format!("CALLER.DO command !E {user} {command}"),
            4 | 5 if !self.pauses => format!("CALLER.DO bound:{delay_ms} !E {user} {command}"),
            6 if !self.pauses => format!("CALLER.DO detached:{delay_ms} !E {user} {command}"),
            7 if !self.pauses => format!("CALLER.DO timer:{delay_ms} !E {user} {command}"),
            8 => "CALLER.ABORT @promise".to_owned(),
            _ => format!("CALLER.DO command !EK {user} {command}"),
        };
        self.send(client, &call)
    }

    fn deed(&mut self) -> Deed {
        match self.chance.from(0, 19) {
            0..=2 => Deed::Attach,
            3..=7 => Deed::AttachSwapdb,
            8..=10 => Deed::Detach,
            11 | 12 => Deed::Promote,
            13 => Deed::KillAndPromote,
            14 => Deed::KillAndStart,
            15 => Deed::SaveAndStart,
            _ => Deed::Wait(self.chance.from(1, 60)),
        }
    }

    fn send(&mut self, client: usize, text: &str) -> Step {
        Step::Send { client, db: self.database(), commands: vec![words(text)] }
    }

    /// One that may wait.
    fn client(&mut self) -> usize {
        let n = self.chance.from(1, CLIENTS as u64 - 1);
        usize::try_from(n).unwrap()
    }

    /// Clients must meet, so some are asked for more often.
    fn key(&mut self) -> &'static str {
        let half_of_them = self.chance.percent(50).then_some(KEYS[0]);
        half_of_them.unwrap_or_else(|| *self.chance.one_of::<&'static str>(&KEYS))
    }

    fn database(&mut self) -> u32 {
        *self.chance.one_of(&[0, 0, 0, 1, 1, 2])
    }

    fn shuffle<T>(&mut self, all: &mut [T]) {
        for n in (1..all.len()).rev() {
            let other = usize::try_from(self.chance.from(0, n as u64)).unwrap();
            all.swap(n, other);
        }
    }
}

/// Whether no other request is for this owner.
pub fn is_of_one_request(owner: &str) -> bool {
    owner.starts_with('o')
}

/// One EVAL of these commands.
fn in_a_script(commands: &[Words]) -> Words {
    let lines = commands.iter().map(|words| words.join("~"));
    words("EVAL @script 0").into_iter().chain(lines).collect()
}
