//! The clients: each has one connection, and waits for its answers while others go on.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use support::{args, Client, Received, Value};

use super::ledger::Ledger;
use super::plan::{CLIENTS, FIRST_OF_USER, USER};

/// How long a server may take to greet a client.
const GREETING: Duration = Duration::from_secs(10);
/// How long the driver waits for an answer that ought to come at once, before it goes on with others.
const ANSWER: Duration = Duration::from_millis(10);
/// The same for a request that waits: it is to be in the queue before the next one is sent.
const IN_LINE: Duration = Duration::from_millis(1);

/// A command that was sent.
#[derive(Clone, Debug)]
pub struct Asked {
    words: Vec<String>,
    /// In which database.
    pub db: u32,
    /// The largest fence that was known when it was sent.
    pub floor: u64,
    /// Whether it was seen in the queue: a grant from then on is told, or is nobody's.
    pub is_in_line: bool,
}

impl Asked {
    fn new(words: Vec<String>, db: u32, floor: u64) -> Asked {
        Asked { words, db, floor, is_in_line: false }
    }

    /// Whether it is this command.
    pub fn is(&self, name: &str) -> bool {
        self.words.first().is_some_and(|word| word == name)
    }

    /// The command that another module is to call.
    pub fn called(&self) -> Asked {
        // CALLER.DO place format user command
        Asked { words: self.words.iter().skip(4).cloned().collect(), ..self.clone() }
    }

    /// Whether it has another module call something.
    pub fn is_of_another_module(&self) -> bool {
        self.is("CALLER.DO") || self.is("CALLER.CALL")
    }

    /// Whether this word is in it.
    pub fn has(&self, word: &str) -> bool {
        self.words.iter().any(|one| one == word)
    }

    /// The number behind this word.
    pub fn number(&self, word: &str) -> Option<u64> {
        let at = self.words.iter().position(|one| one == word)?;
        self.words.get(at + 1)?.parse().ok()
    }

    /// Whether it may wait for a lock.
    pub fn may_wait(&self) -> bool {
        self.is("LOCK.ACQUIRE") && self.has("BLOCK")
    }

    /// Which lock it is about.
    pub fn key(&self) -> &str {
        self.words.get(1).map_or("", String::as_str)
    }

    /// For whom it asks, if it is LOCK.ACQUIRE.
    pub fn owner(&self) -> Option<&str> {
        self.is("LOCK.ACQUIRE").then(|| self.words.get(2).map_or("", String::as_str))
    }

    /// For whom it asks in all, also by a script or by another module.
    pub fn owners(&self) -> Vec<String> {
        let words: Vec<&str> = self.words.iter().flat_map(|word| word.split('~')).collect();
        let asks = words.windows(3).filter(|three| three[0] == "LOCK.ACQUIRE");
        asks.map(|three| three[2].to_owned()).collect()
    }
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (database {})", self.words.join(" "), self.db)
    }
}

/// One client.
#[derive(Default)]
struct Member {
    connection: Option<Connection>,
    asked: VecDeque<Asked>,
}

struct Connection {
    client: Client,
    id: i64,
    db: u32,
}

/// All clients.
pub struct Clients {
    members: Vec<Member>,
    port: u16,
}

impl Clients {
    /// Nobody is connected yet.
    pub fn new(port: u16) -> Clients {
        Clients { members: (0..CLIENTS).map(|_| Member::default()).collect(), port }
    }

    /// The server of this port is the primary now. Whoever waited at another may have been granted without being told.
    pub fn move_to(&mut self, port: u16, ledger: &mut Ledger) {
        self.port = port;
        self.close_all(ledger);
    }

    /// Closes all connections.
    pub fn close_all(&mut self, ledger: &mut Ledger) {
        for n in 0..CLIENTS {
            self.close(n, false, ledger);
        }
    }

    /// Closes a connection, in order or hard.
    pub fn close(&mut self, n: usize, is_hard: bool, ledger: &mut Ledger) {
        self.hear_one(n, ledger);
        let member = &mut self.members[n];
        member.asked.drain(..).for_each(|asked| ledger.excuse(&asked));
        match member.connection.take() {
            Some(connection) if is_hard => connection.client.reset(),
            Some(connection) => connection.client.close(),
            None => {}
        }
    }

    /// The id of the client's connection; 0: it has none.
    pub fn id(&self, n: usize) -> i64 {
        self.members[n].connection.as_ref().map_or(0, |connection| connection.id)
    }

    /// The id of the client's connection if it is in the queue; else 0.
    pub fn id_in_line(&self, n: usize) -> i64 {
        let is_in_line = self.members[n].asked.front().is_some_and(|asked| asked.is_in_line);
        if is_in_line {
            self.id(n)
        } else {
            0
        }
    }

    /// The id of the client that waits for this owner, and for this lock.
    pub fn id_of(&self, db: u32, key: &str, owner: &str) -> i64 {
        let waits = |asked: &Asked| asked.db == db && asked.key() == key && asked.owner() == Some(owner);
        let found = self.members.iter().position(|member| member.asked.front().is_some_and(waits));
        found.map_or(0, |n| self.id(n))
    }

    /// Whether the client has all its answers, so that it may be told to send something.
    pub fn is_free(&mut self, n: usize, ledger: &mut Ledger) -> bool {
        self.hear_one(n, ledger);
        self.members[n].asked.is_empty()
    }

    /// Sends commands in one write, and waits a little for the answers. Each is the words as planned and as they are sent.
    pub fn send(&mut self, n: usize, db: u32, commands: Vec<(Vec<String>, Vec<Vec<u8>>)>, ledger: &mut Ledger) {
        let Some(connection) = self.connect(n) else { return };
        let mut sent: Vec<Vec<Vec<u8>>> = Vec::new();
        let mut asked = Vec::new();
        let floor = ledger.highest();
        if connection.db != db {
            connection.db = db;
            sent.push(args!["SELECT", db].to_vec());
            asked.push(Asked::new(vec!["SELECT".to_owned()], db, floor));
        }
        for (words, bytes) in commands {
            sent.push(bytes);
            asked.push(Asked::new(words, db, floor));
        }
        let lines: Vec<&[Vec<u8>]> = sent.iter().map(Vec::as_slice).collect();
        if connection.client.try_send_many(&lines).is_err() {
            self.members[n].connection = None;
            return;
        }
        let within = if asked.iter().any(Asked::may_wait) { IN_LINE } else { ANSWER };
        self.members[n].asked.extend(asked);
        while let (Some(connection), false) = (&self.members[n].connection, self.members[n].asked.is_empty()) {
            if !connection.client.has_news(within) {
                return;
            }
            self.hear_one(n, ledger);
        }
    }

    /// What the client waits for.
    pub fn waits_for(&mut self, n: usize) -> Option<&mut Asked> {
        self.members[n].asked.front_mut()
    }

    /// Hears what there is to hear.
    pub fn hear(&mut self, ledger: &mut Ledger) {
        for n in 0..CLIENTS {
            self.hear_one(n, ledger);
        }
    }

    /// What each client waits for, with the client's number.
    pub fn outstanding(&self) -> impl Iterator<Item = (usize, &Asked)> {
        self.members.iter().enumerate().filter_map(|(n, member)| Some((n, member.asked.front()?)))
    }

    /// Hears what there is to hear for a client, and notices when its connection has gone.
    fn hear_one(&mut self, n: usize, ledger: &mut Ledger) {
        let member = &mut self.members[n];
        let Some(connection) = &mut member.connection else { return };
        while connection.client.has_news(Duration::ZERO) {
            match connection.client.receive(Duration::ZERO) {
                Received::Reply(answer) => {
                    if let Some(asked) = member.asked.pop_front() {
                        ledger.heard(&asked, &answer, n >= FIRST_OF_USER);
                    }
                }
                Received::Silence => return,
                Received::Closed => {
                    member.connection = None;
                    // What was granted at once may have been on its way.
                    let lost = member.asked.drain(..).filter(|asked| !asked.is_in_line);
                    lost.for_each(|asked| ledger.excuse(&asked));
                    return;
                }
            }
        }
    }

    fn connect(&mut self, n: usize) -> Option<&mut Connection> {
        if self.members[n].connection.is_none() {
            self.members[n].connection = greeted(self.port, n);
        }
        self.members[n].connection.as_mut()
    }
}

/// A new connection of this client, if the server lets it in.
fn greeted(port: u16, n: usize) -> Option<Connection> {
    let mut client = Client::connect(port).ok()?;
    client.set_deadline(GREETING);
    if n >= FIRST_OF_USER && client.try_cmd(&["AUTH", USER, "any"]).ok()? != "OK" {
        return None;
    }
    match client.try_cmd(&["CLIENT", "ID"]).ok()? {
        Value::Int(id) => Some(Connection { client, id, db: 0 }),
        _ => None,
    }
}
