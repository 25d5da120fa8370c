//! What the servers say: the only witness by which scenarios judge who holds a lock.

use std::collections::BTreeMap;

use support::{args, Server, Value};

use crate::deployment::Deployment;
use crate::outcome::{fail, Outcome};

/// A hold, as LOCK.INFO shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// The owner.
    pub owner: String,
    /// The fencing token.
    pub fence: i64,
    /// How long the lease still lasts, in milliseconds.
    pub ttl: i64,
    /// Whether the hold is bound to a connection.
    pub is_session: bool,
    /// The units that it takes of a counted lock.
    pub weight: i64,
    /// How long until `MAX` ends it, in milliseconds; 0 if nothing does.
    pub max: i64,
}

/// A lock, as LOCK.INFO shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lock {
    /// `exclusive`, `shared`, `cooling` or `free`.
    pub mode: String,
    /// The first 100 holders.
    pub holders: Vec<Hold>,
    /// How many hold it.
    pub holders_count: i64,
    /// How many clients wait.
    pub waiters: i64,
    /// The ids of the connections of the first 10 waiters, as CLIENT LIST shows them.
    pub queue: Vec<i64>,
    /// How long it still cools, in milliseconds.
    pub cooling: i64,
}

/// One lock in LOCK.LIST.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// `exclusive`, `shared` or `cooling`.
    pub mode: String,
    /// The holder with the smallest fence.
    pub owner: String,
    /// Its fence.
    pub fence: i64,
}

/// The lock as this server shows it: `None` if it is free and nobody waits. An error if the server does not have the
/// key's slot.
pub fn info_at(server: &Server, key: &str) -> Outcome<Option<Lock>> {
    let info = server.cmd(&["LOCK.INFO", key]);
    match &info {
        Value::Error(text) => fail(text.clone()),
        value if value.is_nil() => Ok(None),
        value => Ok(Some(lock(value))),
    }
}

fn lock(info: &Value) -> Lock {
    let hold = |hold: &Value| Hold {
        owner: hold.get("owner").text(),
        fence: hold.get("fence").int(),
        ttl: hold.get("ttl").int(),
        is_session: hold.get("session").int() != 0,
        weight: hold.get("weight").int(),
        max: hold.get("max").int(),
    };
    Lock {
        mode: info.get("mode").text(),
        holders: info.get("holders").array().iter().map(hold).collect(),
        holders_count: info.get("holders-count").int(),
        waiters: info.get("waiters").int(),
        queue: info.get("queue").array().iter().map(|waiter| waiter.get("client").int()).collect(),
        cooling: info.get("cooling").int(),
    }
}

/// The name and the value of a field in a line of `INFO commandstats`: `cmdstat_get:calls=3,usec=...`.
fn calls_in(line: &str) -> Option<(&str, i64)> {
    let (name, rest) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
    Some((name, rest.split(',').next()?.parse().ok()?))
}

impl Deployment {
    /// The lock as the primary that has its key shows it.
    pub fn info(&self, key: &str) -> Outcome<Option<Lock>> {
        let mut last = Err("no primary answers".to_owned());
        for server in self.primaries() {
            last = info_at(server, key);
            if last.is_ok() {
                break;
            }
        }
        last
    }

    /// How many members of a quorum, or primaries of another deployment, show this owner as a holder.
    pub fn count_holding(&self, key: &str, owner: &str) -> usize {
        let holds = |lock: &Lock| lock.holders.iter().any(|hold| hold.owner == owner);
        let shown = |server: &&Server| info_at(server, key).ok().flatten().as_ref().is_some_and(holds);
        self.primaries().into_iter().filter(shown).count()
    }

    /// All locks that are held or cool down, by their keys.
    pub fn locks(&self) -> BTreeMap<String, Row> {
        let mut rows = BTreeMap::new();
        for server in self.primaries() {
            let mut cursor = "0".to_owned();
            loop {
                let page = server.cmd(&args!["LOCK.LIST", cursor, "COUNT", 1000]);
                let [next, locks] = page.array() else { break };
                for lock in locks.array() {
                    let row = Row {
                        mode: lock.get("mode").text(),
                        owner: lock.get("owner").text(),
                        fence: lock.get("fence").int(),
                    };
                    rows.insert(lock.get("key").text(), row);
                }
                cursor = next.text();
                if cursor == "0" {
                    break;
                }
            }
        }
        rows
    }

    /// How many clients wait in the queues of all primaries.
    pub fn waiters(&self) -> i64 {
        self.primaries().iter().map(|server| server.info_number("redislock", "redislock_waiters")).sum()
    }

    /// How many connections all servers that answer have accepted since they started.
    pub fn connections_accepted(&self) -> i64 {
        self.answering().iter().map(|server| server.info_number("stats", "total_connections_received")).sum()
    }

    /// CLIENT LIST of all servers that answer, without the connections of replication and of the judge itself.
    pub fn clients(&self) -> Vec<String> {
        let lists = self.answering().into_iter().map(|server| server.cmd(&["CLIENT", "LIST"]).text());
        let lines: Vec<String> = lists.flat_map(|list| list.lines().map(str::to_owned).collect::<Vec<_>>()).collect();
        lines.into_iter().filter(|line| !is_own(line)).collect()
    }

    /// How often the servers that answer have run a command, such as `lock.acquire` or `cluster|slots`.
    pub fn calls(&self, command: &str) -> i64 {
        let calls = |server: &Server| -> i64 {
            let stats = server.cmd(&["INFO", "commandstats"]).text();
            let all = stats.lines().filter_map(calls_in);
            all.filter(|(name, _)| name.eq_ignore_ascii_case(command)).map(|(_, calls)| calls).sum()
        };
        self.answering().into_iter().map(calls).sum()
    }
}

/// Whether a line of CLIENT LIST is a replica, a MONITOR, or the connection that asked.
fn is_own(line: &str) -> bool {
    let field = |name: &str| line.split(' ').find_map(|field| field.strip_prefix(name));
    let is_internal = field("flags=").is_some_and(|flags| flags.contains(['S', 'M', 'O']));
    is_internal || field("cmd=").is_some_and(|command| command.starts_with("client|list"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_read_from_the_statistics_of_commands() {
        let line = "cmdstat_cluster|slots:calls=12,usec=5,usec_per_call=1.0";
        assert_eq!(calls_in(line), Some(("cluster|slots", 12)));
        assert_eq!(calls_in("# Commandstats"), None);
    }

    #[test]
    fn the_judge_does_not_count_itself() {
        assert!(is_own("id=3 addr=1 flags=N db=0 cmd=client|list user=default"));
        assert!(is_own("id=4 addr=1 flags=S db=0 cmd=replconf"));
        assert!(!is_own("id=5 addr=1 flags=b db=0 cmd=lock.acquire"));
    }
}
