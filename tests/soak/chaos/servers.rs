//! The servers: one is the primary, others come and go as its replicas, and go on alone when they are detached.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use support::{args, caller_module_path, poll, Server, Value};

use super::plan::{ALL_RIGHTS, USER};

/// How many servers there are at most.
const SERVERS: usize = 3;
/// How long a server may take to change its role.
const CHANGE: Duration = Duration::from_secs(20);
/// Words that a log holds only when something went badly wrong.
const ALARMING: [&str; 4] = ["crash", "assertion", "panic", "bug report"];
/// How many lines of such a log are shown.
const LINES: usize = 12;

/// How servers are set up, as the seed has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setup {
    /// The AOF is on from the start.
    pub has_aof: bool,
    /// Two threads read and write.
    pub has_io_threads: bool,
    /// Replicas that were away for long must load everything.
    pub has_small_backlog: bool,
}

impl Setup {
    /// Every combination comes up.
    pub fn of_seed(seed: u64) -> Setup {
        Setup { has_aof: seed & 1 == 1, has_io_threads: seed & 2 == 2, has_small_backlog: seed & 4 == 4 }
    }

    fn words(self) -> [(&'static str, bool); 3] {
        [("aof", self.has_aof), ("io-threads", self.has_io_threads), ("small-backlog", self.has_small_backlog)]
    }

    fn start(self) -> Server {
        let mut settings = Server::builder()
            .config(format!("loadmodule {}", caller_module_path().display()))
            .config(format!("user {USER} {ALL_RIGHTS}"))
            .config("repl-diskless-sync yes");
        if self.has_aof {
            settings = settings.aof();
        }
        if self.has_io_threads {
            settings = settings.config("io-threads 2").config("io-threads-do-reads yes");
        }
        if self.has_small_backlog {
            settings = settings.config("repl-backlog-size 16kb");
        }
        settings.start()
    }
}

/// A line like `servers: aof io-threads`.
impl fmt::Display for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("servers:")?;
        self.words().iter().filter(|(_, is_set)| *is_set).try_for_each(|(word, _)| write!(f, " {word}"))
    }
}

impl FromStr for Setup {
    type Err = String;

    fn from_str(line: &str) -> Result<Setup, String> {
        let words = line.strip_prefix("servers:").ok_or_else(|| format!("not a set-up: {line}"))?;
        let has = |name| words.split_whitespace().any(|word| word == name);
        let (has_aof, has_io_threads, has_small_backlog) = (has("aof"), has("io-threads"), has("small-backlog"));
        Ok(Setup { has_aof, has_io_threads, has_small_backlog })
    }
}

/// What a server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Clients are at this one.
    Primary,
    /// A replica of it.
    Replica,
    /// Detached.
    Alone,
}

/// A server, and what it is.
pub struct Member {
    /// The server.
    pub server: Server,
    /// Its role.
    pub role: Role,
}

/// All servers.
pub struct Servers {
    setup: Setup,
    members: Vec<Member>,
    /// What servers said that were killed since.
    past_alarms: Vec<String>,
}

impl Servers {
    /// The primary alone.
    pub fn start(setup: Setup) -> Servers {
        let primary = Member { server: setup.start(), role: Role::Primary };
        Servers { setup, members: vec![primary], past_alarms: Vec::new() }
    }

    /// The primary.
    pub fn primary(&self) -> &Server {
        let primary = self.members.iter().find(|member| member.role == Role::Primary);
        &primary.expect("there is always a primary").server
    }

    /// All that run.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// The primary is killed and started with what is on its disk, which is all that it had if it `saves` before.
    pub fn start_again(&self, saves: bool) {
        let primary = self.primary();
        if saves {
            // A server that saves in the background refuses.
            obeys(primary, &["SAVE"]);
        }
        primary.kill9();
        primary.restart();
    }

    /// A replica more: one that was detached, or a new one.
    pub fn attach(&mut self, load: &str) {
        let port = self.primary().port();
        let alone = self.members.iter().position(|member| member.role == Role::Alone);
        let at = match alone {
            Some(at) => at,
            None if self.members.len() < SERVERS => {
                self.members.push(Member { server: self.setup.start(), role: Role::Alone });
                self.members.len() - 1
            }
            None => return,
        };
        let member = &mut self.members[at];
        member.server.cmd(&["CONFIG", "SET", "repl-diskless-load", load]);
        become_replica(&member.server, port);
        member.role = Role::Replica;
    }

    /// A replica less.
    pub fn detach(&mut self) {
        if let Some(member) = self.members.iter_mut().find(|member| member.role == Role::Replica) {
            become_primary(&member.server);
            member.role = Role::Alone;
        }
    }

    /// A replica takes over; the old primary becomes its replica, or is killed before. False: there is no replica.
    pub fn promote(&mut self, kills: bool) -> bool {
        let Some(next) = self.members.iter().find(|member| member.role == Role::Replica) else { return false };
        let port = next.server.port();
        if kills {
            self.past_alarms.extend(alarm(self.primary()));
            self.primary().kill9();
            self.members.retain(|member| member.role != Role::Primary);
        }
        for member in self.members.iter_mut().filter(|member| member.server.port() == port) {
            become_primary(&member.server);
            member.role = Role::Primary;
        }
        for member in self.members.iter_mut().filter(|member| member.server.port() != port) {
            if member.role != Role::Alone {
                become_replica(&member.server, port);
                member.role = Role::Replica;
            }
        }
        true
    }

    /// What a server that is dead says, or one whose log holds what no log should.
    pub fn alarms(&self) -> Vec<String> {
        let now = self.members.iter().filter_map(|member| alarm(&member.server));
        self.past_alarms.iter().cloned().chain(now).collect()
    }
}

fn alarm(server: &Server) -> Option<String> {
    let log = server.log();
    let is_alarming = |line: &str| {
        let line = line.to_lowercase();
        ALARMING.iter().any(|word| line.contains(word))
    };
    let first = log.lines().position(is_alarming);
    if server.is_alive() && first.is_none() {
        return None;
    }
    let lines: Vec<&str> = log.lines().skip(first.unwrap_or_default()).take(LINES).collect();
    Some(format!("crash: the server's log says\n{}", lines.join("\n")))
}

fn become_replica(server: &Server, port: u16) {
    obeys(server, &args!["REPLICAOF", "127.0.0.1", port]);
}

fn become_primary(server: &Server) {
    obeys(server, &args!["REPLICAOF", "NO", "ONE"]);
    // Rights are each server's own.
    let rights: Vec<&str> = ["ACL", "SETUSER", USER].into_iter().chain(ALL_RIGHTS.split(' ')).collect();
    obeys(server, &rights);
}

/// A server that loads refuses.
fn obeys<A: AsRef<[u8]>>(server: &Server, command: &[A]) {
    let done = poll(CHANGE, || matches!(server.cmd(command), Value::Simple(_)).then_some(()));
    assert!(done.is_some(), "a server does not obey: {:?}", server.cmd(command));
}
