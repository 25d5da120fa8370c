//! The world at rest: nothing is sent, and what servers and clients say of themselves must agree.

use std::collections::HashMap;
use std::time::Duration;

use support::{args, digest, poll, Client, Server, Value};

use super::clients::Asked;
use super::ledger::asked_for;
use super::plan::{DATABASES, KEYS};
use super::servers::Role;
use super::world::{is_known, World};
use crate::history::{Holder, Seen};
use crate::view::described;

/// How long a server may take to obey.
const LIFTED: Duration = Duration::from_secs(10);
/// What takes away what stands in the way of rest.
const LIFT: [&[&str]; 4] = [
    &["CLIENT", "UNPAUSE"],
    &["CONFIG", "SET", "maxmemory", "0"],
    &["CONFIG", "SET", "min-replicas-to-write", "0"],
    &["CONFIG", "SET", "redislock.max-holders", "10000"],
];

/// What a server says in one moment.
struct Look {
    waiters: u64,
    locks_held: u64,
    blocked: u64,
    places: Vec<Place>,
}

/// A key of a database.
#[derive(Debug)]
struct Place {
    db: u32,
    key: &'static str,
    is_lock: bool,
    info: Option<Seen>,
}

impl World {
    /// Waits until all agrees. `Err`: what does not.
    pub fn rest(&mut self) -> Result<(), String> {
        self.servers.members().iter().for_each(|member| lift(&member.server));
        let mut wrong = Vec::new();
        let _ = poll(self.rest_limit, || {
            wrong = self.wrong_for_good();
            if !wrong.is_empty() {
                return Some(());
            }
            wrong = self.wrong_now();
            wrong.is_empty().then_some(())
        });
        wrong.into_iter().next().map_or(Ok(()), Err)
    }

    /// What waiting does not mend.
    fn wrong_for_good(&self) -> Vec<String> {
        let mut wrong = self.servers.alarms();
        wrong.extend(self.ledger.wrong().iter().filter(|wrong| !is_known(wrong)).cloned());
        wrong
    }

    /// What does not agree at this moment.
    fn wrong_now(&mut self) -> Vec<String> {
        let look = match self.look_at_promises().and_then(|()| self.look_at_primary()) {
            Ok(look) => look,
            Err(wrong) => return vec![wrong],
        };
        self.clients.hear(&mut self.ledger);
        let mut wrong = self.wrong_with_waiters(&look);
        wrong.extend(look.wrong_with_keys("the primary"));
        wrong.extend(self.wrong_with_holders(&look));
        wrong.extend(self.wrong_elsewhere(&look));
        wrong.retain(|wrong| !is_known(wrong));
        if wrong.is_empty() {
            let holders = look.places.iter().flat_map(Place::holders).map(|hold| hold.owner.clone());
            self.ledger.rested(&holders.collect());
        }
        wrong
    }

    fn look_at_promises(&mut self) -> Result<(), String> {
        for promise in self.ledger.promises().to_vec() {
            let state = self.ask(&args!["CALLER.PROMISE", promise.number])?;
            self.ledger.looked_at(&promise, &state);
        }
        Ok(())
    }

    fn look_at_primary(&mut self) -> Result<Look, String> {
        let commands = commands_of_a_look();
        let commands: Vec<&[Vec<u8>]> = commands.iter().map(Vec::as_slice).collect();
        let answers = self.ask_all(&commands)?;
        Look::of(answers.last()).ok_or_else(|| format!("driver: a look failed: {:?}", answers.last()))
    }

    /// INFO, LOCK.INFO, the server's count of blocked clients and the clients themselves say the same.
    fn wrong_with_waiters(&self, look: &Look) -> Vec<String> {
        let mut wrong = Vec::new();
        let in_line: u64 = look.places.iter().filter_map(|place| Some(place.info.as_ref()?.waiters)).sum();
        let asked: Vec<(usize, &Asked)> = self.clients.outstanding().collect();
        for (n, asked) in asked.iter().filter(|(_, asked)| !asked.may_wait()) {
            wrong.push(format!("unanswered: client {n} has none to {asked}"));
        }
        let (clients, promises) = (asked.len() as u64, self.ledger.promises().len() as u64);
        // A call of another module waits without blocking a client.
        let is_even = look.waiters == in_line && look.blocked == clients && look.waiters == clients + promises;
        if !is_even {
            wrong.push(format!(
                "waiters: {} in INFO, {in_line} in LOCK.INFO, {} blocked clients, {clients} clients without an answer, {promises} promises",
                look.waiters, look.blocked
            ));
        }
        let promised = self.ledger.promises().iter().map(|promise| &promise.asked);
        let waiting: Vec<&Asked> = asked.into_iter().map(|(_, asked)| asked).chain(promised).collect();
        for place in &look.places {
            let theirs = waiting.iter().filter(|asked| asked.db == place.db && asked.key() == place.key);
            let theirs: Vec<&Asked> = theirs.copied().collect();
            wrong.extend(place.wrong_with_line(&theirs));
        }
        wrong
    }

    /// Every hold is one that somebody was told of.
    fn wrong_with_holders(&self, look: &Look) -> Vec<String> {
        let holds = look.places.iter().flat_map(|place| place.holders().iter().map(move |hold| (place, hold)));
        let stranded = holds.filter(|(_, hold)| !self.ledger.is_known(&hold.owner, hold.fence));
        stranded.map(|(place, hold)| format!("stranded: nobody was told of {hold:?} of {}", place.name())).collect()
    }

    /// Replicas hold what the primary holds, and servers that were detached are in order by themselves.
    fn wrong_elsewhere(&self, above: &Look) -> Vec<String> {
        let mut wrong = Vec::new();
        let primary = self.servers.primary();
        for member in self.servers.members() {
            let name = match member.role {
                Role::Primary => continue,
                Role::Replica => "a replica",
                Role::Alone => "a detached server",
            };
            if member.role == Role::Replica && !is_in_step(primary, &member.server) {
                wrong.push("replication: a replica is not in step".to_owned());
                continue;
            }
            let Some(look) = look_at(&member.server) else {
                wrong.push(format!("driver: a look failed at {name}"));
                continue;
            };
            if member.role == Role::Replica && digest(primary) != digest(&member.server) {
                let differing = differing_keys(primary, &member.server);
                wrong.push(format!(
                    "replication: a replica differs in {differing:?}: it has {:?}, its primary {:?}",
                    look.places, above.places
                ));
            }
            wrong.extend(look.wrong_with_keys(name));
        }
        wrong
    }
}

impl Look {
    fn of(answer: Option<&Value>) -> Option<Look> {
        let Some(Value::Array(answers)) = answer else { return None };
        let fields: HashMap<String, u64> = answers
            .iter()
            .take(2)
            .filter(|answer| !answer.is_err())
            .flat_map(|answer| numbers(&answer.text()))
            .collect();
        let mut places = Vec::new();
        let mut rest = answers.iter().skip(2);
        for db in 0..DATABASES {
            rest.next()?;
            for key in KEYS {
                let (kind, info) = (rest.next()?, rest.next()?);
                let info = if info.is_err() { None } else { described(info) };
                places.push(Place { db, key, is_lock: *kind == "redislock", info });
            }
        }
        Some(Look {
            waiters: *fields.get("redislock_waiters")?,
            locks_held: *fields.get("redislock_locks_held")?,
            blocked: *fields.get("blocked_clients")?,
            places,
        })
    }

    /// As many locks as keys of the type, and no key of a lock that nobody holds.
    fn wrong_with_keys(&self, server: &str) -> Vec<String> {
        let mut wrong = Vec::new();
        let keys = self.places.iter().filter(|place| place.is_lock).count() as u64;
        if keys != self.locks_held {
            wrong.push(format!("keys: {server} has {keys} keys of the type and counts {} locks", self.locks_held));
        }
        for place in self.places.iter().filter(|place| place.is_lock) {
            match &place.info {
                Some(info) if !info.is_shared && info.holders.len() > 1 => {
                    wrong.push(format!("exclusion: {server} has two holders of {}: {info:?}", place.name()));
                }
                Some(_) => {}
                None => wrong.push(format!("leases: {server} keeps {}, whose lease has ended", place.name())),
            }
        }
        wrong
    }
}

impl Place {
    fn name(&self) -> String {
        format!("{} of database {}", self.key, self.db)
    }

    fn holders(&self) -> &[Holder] {
        self.info.as_ref().map_or(&[], |info| info.holders.as_slice())
    }

    /// Those in the queue are the clients that wait, and the first of them has a reason to.
    fn wrong_with_line(&self, asked: &[&Asked]) -> Vec<String> {
        let mut wrong = Vec::new();
        let queue = self.info.as_ref().map(|info| info.queue.clone()).unwrap_or_default();
        let mut strangers = queue.iter().filter(|owner| !asked.iter().any(|one| one.owner() == Some(asked_for(owner))));
        if let Some(stranger) = strangers.next() {
            wrong.push(format!("waiters: {stranger} is in line for {}, and no client of ours waits so", self.name()));
        }
        let Some(first) = queue.first() else { return wrong };
        let request = asked.iter().find(|one| one.owner() == Some(asked_for(first)));
        if let Some(request) = request.filter(|request| !self.is_in_the_way_of(request)) {
            wrong.push(format!("waiters: nothing is in the way of {request}: {:?}", self.info));
        }
        if !self.is_lock {
            wrong.push(format!("waiters: {first} waits for {}, which nobody holds", self.name()));
        }
        wrong
    }

    /// Whether the holders keep out who asks so.
    fn is_in_the_way_of(&self, asked: &Asked) -> bool {
        let Some(info) = &self.info else { return false };
        if !asked.has("SHARED") || !info.is_shared {
            return !info.holders.is_empty();
        }
        let limits = info.holders.iter().map(|hold| hold.limit).chain(asked.number("LIMIT"));
        let limit = limits.filter(|limit| *limit > 0).min();
        limit.is_some_and(|limit| info.holders.len() as u64 >= limit)
    }
}

/// Takes away what stands in the way of rest. What was held up till now may kill the connection.
fn lift(server: &Server) {
    for command in LIFT {
        let obeys = || Client::connect(server.port()).is_ok_and(|mut client| client.try_cmd(command).is_ok());
        let done = poll(LIFTED, || (!server.is_alive() || obeys()).then_some(()));
        assert!(done.is_some(), "a server does not answer {command:?}");
    }
}

fn commands_of_a_look() -> Vec<Vec<Vec<u8>>> {
    let mut commands =
        vec![args!["MULTI"].to_vec(), args!["INFO", "redislock"].to_vec(), args!["INFO", "clients"].to_vec()];
    for db in 0..DATABASES {
        commands.push(args!["SELECT", db].to_vec());
        for key in KEYS {
            commands.push(args!["TYPE", key].to_vec());
            commands.push(args!["LOCK.INFO", key].to_vec());
        }
    }
    commands.push(args!["EXEC"].to_vec());
    commands
}

fn look_at(server: &Server) -> Option<Look> {
    let commands = commands_of_a_look();
    let commands: Vec<&[Vec<u8>]> = commands.iter().map(Vec::as_slice).collect();
    let answers = server.client().try_pipeline(&commands).ok()?;
    Look::of(answers.last())
}

/// The keys that are not the same at both, with what DEBUG says of them: it also sees those whose TTL has ended, and that only
/// the primary may remove.
fn differing_keys(primary: &Server, replica: &Server) -> Vec<String> {
    let mut differing = Vec::new();
    let (mut above, mut below) = (primary.client(), replica.client());
    for db in 0..DATABASES {
        for key in KEYS {
            let look = |client: &mut Client| {
                client.cmd(&args!["SELECT", db]);
                let digest = client.cmd(&["DEBUG", "DIGEST-VALUE", key]);
                format!("{digest:?} until {:?}", client.cmd(&["PEXPIRETIME", key]))
            };
            let (theirs, ours) = (look(&mut below), look(&mut above));
            if theirs != ours {
                differing.push(format!("{key} of database {db}: {theirs}, its primary {ours}"));
            }
        }
    }
    differing
}

/// The fields of INFO that are numbers.
fn numbers(info: &str) -> Vec<(String, u64)> {
    let fields = info.lines().filter_map(|line| line.split_once(':'));
    fields.filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?))).collect()
}

fn is_in_step(primary: &Server, replica: &Server) -> bool {
    let (above, below) = (primary.info("replication"), replica.info("replication"));
    let offset = |info: &HashMap<String, String>, name: &str| -> Option<i64> { info.get(name)?.parse().ok() };
    let is_up = below.get("master_link_status").is_some_and(|status| status == "up");
    let is_same_history = above.get("master_replid") == below.get("master_replid");
    is_up && is_same_history && offset(&below, "slave_repl_offset") >= offset(&above, "master_repl_offset")
}
