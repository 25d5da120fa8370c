//! What was done and seen in a run, in the order in which it was written down.
//!
//! Times are microseconds of the test's monotonic clock since the start. An operation ran at the server somewhere between its
//! call and its return; one whose reply was lost may run at any time after its call, until its connection is known to be gone.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::traffic::{words, words_together};

/// Microseconds since the start of the run.
pub type Us = u64;
/// Later than everything.
pub const NEVER: Us = Us::MAX;

/// A lock: a key in a database.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Lock {
    /// The database.
    pub db: u32,
    /// The key.
    pub name: String,
}

impl fmt::Display for Lock {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        write!(out, "{}:{}", self.db, self.name)
    }
}

/// What a client asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// LOCK.ACQUIRE.
    Acquire {
        /// Alone, or together with others.
        is_shared: bool,
        /// LIMIT.
        limit: Option<u64>,
        /// PX.
        lease_ms: u64,
        /// BLOCK.
        block_ms: Option<u64>,
        /// SESSION.
        is_session: bool,
        /// What few requests have.
        options: Options,
    },
    /// LOCK.RELEASE.
    Release {
        /// FENCE.
        fence: Option<u64>,
    },
    /// LOCK.RELEASE ... COOL.
    Cool {
        /// FENCE.
        fence: Option<u64>,
        /// COOL.
        cool_ms: u64,
    },
    /// LOCK.RELEASE ... DOWNGRADE.
    Downgrade {
        /// FENCE.
        fence: Option<u64>,
    },
    /// LOCK.EXTEND.
    Extend {
        /// PX; left out: as long as it was last given.
        lease_ms: Option<u64>,
        /// FENCE.
        fence: Option<u64>,
    },
    /// LOCK.CHECK.
    Check,
}

/// Options of LOCK.ACQUIRE that few requests have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// WEIGHT.
    pub weight: Option<u64>,
    /// MAX.
    pub max_ms: Option<u64>,
    /// DELAY.
    pub delay_ms: Option<u64>,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Granted, or held already, under this fence.
    Fence(u64),
    /// Null.
    Null,
    /// 1.
    Yes,
    /// 0.
    No,
    /// What LOCK.CHECK says of a hold.
    Held {
        /// Its fence.
        fence: u64,
        /// What is left of its lease.
        ttl_ms: u64,
    },
    /// An error reply.
    Error(String),
    /// Nobody knows.
    Unknown,
}

/// One operation of a client.
#[derive(Clone, Debug)]
pub struct Op {
    /// Which client.
    pub client: String,
    /// On which connection: a number of [`History::connections`].
    pub connection: usize,
    /// Of which lock.
    pub lock: Lock,
    /// For whom.
    pub owner: String,
    /// What.
    pub asked: Asked,
    /// When it was sent.
    pub call_us: Us,
    /// When the reply came; [`NEVER`] if none did.
    pub ret_us: Us,
    /// The reply, as far as it is about this lock.
    pub reply: Reply,
    /// If the command was about several locks: all its operations.
    pub together: Option<Together>,
}

/// The operations of one command about several locks, one for each. They stand one after the other in [`History::ops`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Together {
    /// The number of the first.
    pub first: usize,
    /// All locks, in the order of the command.
    pub locks: Vec<Lock>,
}

/// One connection of a client.
#[derive(Clone, Debug)]
pub struct Connection {
    /// The client's side, as the server names it.
    pub address: String,
    /// To which life of which server: a number of [`History::terms`].
    pub term: usize,
    /// From when on it may close: the client closed it, or somebody killed it.
    pub closing_us: Us,
    /// When the client knew it to be closed.
    pub closed_us: Us,
}

/// One life of a server as the primary.
#[derive(Clone, Debug)]
pub struct Term {
    /// Which server.
    pub server: usize,
    /// When the process ended, or ceased to be a primary.
    pub ended_us: Us,
    /// From when on another server may have been promoted beside it.
    pub superseded_us: Us,
}

/// What somebody who may do so did to the data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deed {
    /// DEL or UNLINK.
    Remove(Lock),
    /// FLUSHALL.
    Flush,
    /// SWAPDB 0 1.
    Swap,
    /// The data set was loaded again: DEBUG RELOAD, or a restart.
    Load,
    /// A replica became the primary.
    Promote,
    /// The server's wall clock was set.
    SetClock,
    /// This waiter, whose owner asks on no other connection, was killed in the very transaction in which it stood in the queue.
    KillInLine {
        /// For which lock.
        lock: Lock,
        /// For whom.
        owner: String,
    },
    /// Anything else, for the reader.
    Other(String),
}

/// Something done to a server.
#[derive(Clone, Debug)]
pub struct Act {
    /// What.
    pub deed: Deed,
    /// When it began.
    pub call_us: Us,
    /// When it was done.
    pub ret_us: Us,
}

/// A time in which the server may not write, or its timers may be late.
#[derive(Clone, Debug)]
pub struct Halt {
    /// Why.
    pub why: &'static str,
    /// From when.
    pub from_us: Us,
    /// Until when.
    pub to_us: Us,
}

/// A holder in LOCK.INFO.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Who.
    pub owner: String,
    /// Its fence.
    pub fence: u64,
    /// What is left of its lease.
    pub ttl_ms: u64,
    /// Its limit; 0 = none.
    pub limit: u64,
    /// The units of the limit that it takes.
    pub weight: u64,
    /// The client it ends with, or 0.
    pub session: u64,
}

/// LOCK.INFO of a lock that somebody holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Held together.
    pub is_shared: bool,
    /// Held by nobody, and granted to nobody yet.
    pub is_cooling: bool,
    /// By whom, in the order of fences.
    pub holders: Vec<Holder>,
    /// How many wait.
    pub waiters: u64,
    /// For whom they ask, longest first.
    pub queue: Vec<String>,
}

/// A client in CLIENT LIST.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenClient {
    /// Its id.
    pub id: u64,
    /// Its address.
    pub address: String,
    /// Whether it is blocked.
    pub is_blocked: bool,
}

/// What the server said of all locks and clients in one transaction.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Which server's life.
    pub term: usize,
    /// When it was asked.
    pub call_us: Us,
    /// When the reply came.
    pub ret_us: Us,
    /// All locks; `None` = free.
    pub locks: Vec<(Lock, Option<Seen>)>,
    /// All clients.
    pub clients: Vec<SeenClient>,
}

/// A command in the order in which the server ran it (MONITOR).
#[derive(Clone, Debug)]
pub struct Heard {
    /// Which server's life.
    pub term: usize,
    /// When we heard of it: it ran before.
    pub at_us: Us,
    /// Who sent it.
    pub address: String,
    /// The command.
    pub words: Vec<String>,
}

/// A holder used the fenced resource.
#[derive(Clone, Debug)]
pub struct Use {
    /// Of which lock.
    pub lock: Lock,
    /// Who.
    pub owner: String,
    /// With which fence.
    pub fence: u64,
    /// When.
    pub at_us: Us,
    /// Whether it was let in.
    pub is_accepted: bool,
}

/// All of it.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// What clients did.
    pub ops: Vec<Op>,
    /// On which connections.
    pub connections: Vec<Connection>,
    /// To which servers.
    pub terms: Vec<Term>,
    /// What was done to them.
    pub acts: Vec<Act>,
    /// When they could not write.
    pub halts: Vec<Halt>,
    /// What they said of themselves.
    pub samples: Vec<Sample>,
    /// In which order they ran what clients did.
    pub heard: Vec<Heard>,
    /// What holders did.
    pub uses: Vec<Use>,
    /// What was wrong the moment it was seen.
    pub wrong: Vec<String>,
}

/// Takes down what happens.
#[derive(Debug)]
pub struct Recorder {
    start: Instant,
    history: Mutex<History>,
}

impl History {
    /// All operations of the command that this operation is of, itself among them.
    pub fn command_of<'a>(&'a self, op: &'a Op) -> &'a [Op] {
        match &op.together {
            None => std::slice::from_ref(op),
            Some(together) => &self.ops[together.first..together.first + together.locks.len()],
        }
    }
}

impl Recorder {
    /// Begins now.
    pub fn new() -> Recorder {
        Recorder { start: Instant::now(), history: Mutex::new(History::default()) }
    }

    /// The time.
    pub fn now_us(&self) -> Us {
        u64::try_from(self.start.elapsed().as_micros()).unwrap()
    }

    /// What was taken down so far, to be added to.
    pub fn notes(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection was made: its number.
    pub fn connected(&self, address: String, term: usize) -> usize {
        let mut notes = self.notes();
        notes.connections.push(Connection { address, term, closing_us: NEVER, closed_us: NEVER });
        notes.connections.len() - 1
    }

    /// A connection is closed, or was found to be.
    pub fn closed(&self, connection: usize) {
        let now = self.now_us();
        let mut notes = self.notes();
        let connection = &mut notes.connections[connection];
        connection.closing_us = connection.closing_us.min(now);
        connection.closed_us = connection.closed_us.min(now);
    }

    /// An operation is about to be sent: its number.
    pub fn called(&self, client: &str, connection: usize, lock: &Lock, owner: &str, asked: Asked) -> usize {
        let mut notes = self.notes();
        let (client, owner, lock) = (client.to_owned(), owner.to_owned(), lock.clone());
        let (call_us, ret_us, reply, together) = (self.now_us(), NEVER, Reply::Unknown, None);
        notes.ops.push(Op { client, connection, lock, owner, asked, call_us, ret_us, reply, together });
        notes.ops.len() - 1
    }

    /// A command about several locks is about to be sent: the number of its first operation.
    pub fn called_together(
        &self,
        client: &str,
        connection: usize,
        locks: &[Lock],
        owner: &str,
        asked: &Asked,
    ) -> usize {
        let mut notes = self.notes();
        let (call_us, first) = (self.now_us(), notes.ops.len());
        notes.ops.extend(locks.iter().map(|lock| Op {
            client: client.to_owned(),
            connection,
            lock: lock.clone(),
            owner: owner.to_owned(),
            asked: asked.clone(),
            call_us,
            ret_us: NEVER,
            reply: Reply::Unknown,
            together: Some(Together { first, locks: locks.to_vec() }),
        }));
        first
    }

    /// Its reply came.
    pub fn returned(&self, op: usize, reply: Reply) {
        let now = self.now_us();
        let mut notes = self.notes();
        let op = &mut notes.ops[op];
        (op.ret_us, op.reply) = (now, reply);
    }

    /// Does something to a server and takes it down.
    pub fn act<R>(&self, deed: Deed, body: impl FnOnce() -> R) -> R {
        let call_us = self.now_us();
        let result = body();
        let ret_us = self.now_us();
        self.notes().acts.push(Act { deed, call_us, ret_us });
        result
    }

    /// The server may not write while this runs.
    pub fn halted<R>(&self, why: &'static str, body: impl FnOnce() -> R) -> R {
        let from_us = self.now_us();
        let result = body();
        let to_us = self.now_us();
        self.notes().halts.push(Halt { why, from_us, to_us });
        result
    }

    /// Something is wrong beyond doubt.
    pub fn wrong(&self, what: String) {
        self.notes().wrong.push(what);
    }
}

impl fmt::Display for Op {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        let words = self.words().join(" ");
        write!(out, "{} on connection {}: {words} (database {})", self.client, self.connection, self.lock.db)?;
        match self.ret_us {
            NEVER => write!(out, " at {} us, nobody knows what came of it", self.call_us),
            ret_us => write!(out, " from {} to {ret_us} us: {:?}", self.call_us, self.reply),
        }
    }
}

impl Op {
    /// The command as it was sent.
    pub fn words(&self) -> Vec<String> {
        match &self.together {
            None => words(&self.lock, &self.owner, &self.asked),
            Some(together) => words_together(&together.locks, &self.owner, &self.asked),
        }
    }

    /// The fence, if a hold was granted or was there already.
    pub fn granted(&self) -> Option<u64> {
        match (&self.asked, &self.reply) {
            (Asked::Acquire { .. }, Reply::Fence(fence)) => Some(*fence),
            _ => None,
        }
    }

    /// Whether nobody knows what became of it. A primary that becomes a replica says UNBLOCKED also to one whose grant was on its way.
    pub fn is_unknown(&self) -> bool {
        match &self.reply {
            Reply::Unknown => true,
            Reply::Error(text) => text.starts_with("UNBLOCKED"),
            Reply::Fence(_) | Reply::Null | Reply::Yes | Reply::No | Reply::Held { .. } => false,
        }
    }

    /// Whether it asks for a hold that may have come of it.
    pub fn may_have_been_granted(&self) -> bool {
        matches!(self.asked, Asked::Acquire { .. }) && (self.is_unknown() || self.granted().is_some())
    }

    /// Whether it asks to end a hold.
    pub fn is_release(&self) -> bool {
        matches!(self.asked, Asked::Release { .. } | Asked::Cool { .. })
    }

    /// Whether it may wait at the server.
    pub fn is_blocking(&self) -> bool {
        matches!(self.asked, Asked::Acquire { block_ms: Some(_), .. })
    }

    /// Whether it may be about its owner's hold that once had this fence: it names no fence, or a later one. (A hold that was
    /// loaded gets another fence as soon as its owner reacquires it.)
    pub fn is_about(&self, fence: u64) -> bool {
        match self.asked {
            Asked::Release { fence: asked }
            | Asked::Cool { fence: asked, .. }
            | Asked::Downgrade { fence: asked }
            | Asked::Extend { fence: asked, .. } => asked.is_none_or(|asked| asked >= fence),
            Asked::Acquire { .. } | Asked::Check => true,
        }
    }
}
