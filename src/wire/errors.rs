//! Every error text that a client can read, in one place. The errors of a bad request say what is allowed.

use std::fmt;

use super::glob::PATTERN_LEN_MAX;
use super::options::{OptionGroup, COUNT_MAX, KEYS_MAX};
use crate::lock::{Fence, Millis, OWNER_LEN_MAX};

/// The key holds a value of another type. In the words of Redis.
pub const WRONG_TYPE: &str = "WRONGTYPE Operation against a key holding the wrong kind of value";
/// This server is a replica. In the words of Redis.
pub const READ_ONLY: &str = "READONLY You can't write against a read only replica.";
/// A panic was caught.
pub const PANICKED: &str = "ERR internal error in the module redislock, see the server's log";
/// The slot of the key is on its way to another server. Cluster clients ask again in a moment, and are sent to the right
/// server then.
pub const TRY_AGAIN: &str = "TRYAGAIN the slot of this key is leaving or has left this server, ask again";
/// The user of a waiter may not ask for the lock any more. In the words of Redis, which names neither the user nor the key
/// either.
pub const NO_PERMISSION: &str = "NOPERM No permissions to run the 'lock.acquire' command on this key any more";
/// The same for a waiter for several locks.
pub const NO_PERMISSION_TO_ALL: &str =
    "NOPERM No permissions to run the 'lock.macquire' command on these keys any more";
/// The cluster is down. In the words of Redis.
pub const CLUSTER_DOWN: &str = "CLUSTERDOWN The cluster is down";
/// The server could not make an owner for `*`.
pub const NO_RANDOM_BYTES: &str = "ERR the operating system gave no random bytes for an owner";
/// A client ran a command that only replication uses.
pub const INTERNAL: &str =
    "ERR this command is internal to replication, use LOCK.ACQUIRE, LOCK.RELEASE and LOCK.EXTEND";
/// A command of replication has bytes that this version does not know.
pub const UNKNOWN_EFFECT: &str =
    "ERR unknown lock effect, this replica or AOF is read by an older version of the module";

/// Why a request makes no sense. Found before any key is looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BadRequest {
    /// Fewer arguments than the command needs.
    Arity,
    /// The owner is empty or too long: its length in bytes.
    OwnerLength(usize),
    /// `*` where an owner must be named.
    OwnerStar,
    /// The number of keys is outside its range or no number.
    NumKeys,
    /// There are not so many keys, or no owner follows them.
    TooFewKeys,
    /// A key stands twice.
    KeyTwice(Vec<u8>),
    /// PX outside its range or no number: the longest lease allowed now.
    Px(Millis),
    /// EX outside its range or no number: the longest lease allowed now.
    Ex(Millis),
    /// BLOCK outside its range or no number.
    Block,
    /// LIMIT outside its range or no number.
    Limit,
    /// An option outside its range or no number: its word, what is counted, and the largest number.
    Range(&'static str, &'static str, u64),
    /// FENCE or RAISE outside its range or no number.
    Number(&'static str),
    /// RAISE beyond what the clock allows now: the largest number allowed.
    RaiseTooFar(u64),
    /// The cursor is no number, or larger than any that was given.
    Cursor,
    /// COUNT outside its range or no number.
    Count,
    /// MATCH with a pattern that is empty or too long: its length in bytes.
    Pattern(usize),
    /// BY without a known order.
    Order,
    /// The option ends the command but needs a value.
    NoValue(&'static str),
    /// The option stands twice.
    Twice(&'static str),
    /// Two options that exclude each other.
    Both(&'static str, &'static str),
    /// The first option makes sense only beside the second.
    Needs(&'static str, &'static str),
    /// No such option: as it was spelled, and the options of the command.
    Unknown(Vec<u8>, &'static [OptionGroup]),
}

/// Why a request that makes sense is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The owner holds the lock shared and asks to hold it alone.
    MustRelease,
    /// So many owners hold the lock together (setting `max-holders`).
    Holders(usize),
    /// So many clients wait for the lock (setting `max-waiters`).
    Waiters(usize),
    /// So many clients wait for all locks (setting `max-waiters-total`).
    WaitersTotal(usize),
    /// Waiting would close this cycle.
    Deadlock(Vec<Link>),
    /// SESSION, and no connection of its own.
    NoSession,
    /// The server has just started, and grants nothing for this long.
    Quarantine(Millis),
    /// COOL, and the owner holds the lock shared.
    CoolShared,
}

/// One step of a cycle: `waits` waits for `holds`, which holds the lock `key` or waits for it just before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// The owner that waits.
    pub waits: Vec<u8>,
    /// The name of the lock it waits for.
    pub key: Vec<u8>,
    /// The owner it waits for.
    pub holds: Vec<u8>,
}

/// How many steps of a cycle are told.
const LINKS_SHOWN: usize = 16;

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refused::MustRelease => {
                write!(f, "ERR this owner holds the lock shared, release it first to ask for the exclusive hold")
            }
            Refused::Holders(max) => write!(f, "ERR {max} owners hold this lock (redislock.max-holders)"),
            Refused::Waiters(max) => write!(f, "ERR {max} clients wait for this lock (redislock.max-waiters)"),
            Refused::WaitersTotal(max) => write!(f, "ERR {max} clients wait for locks (redislock.max-waiters-total)"),
            Refused::NoSession => {
                write!(f, "ERR SESSION needs a connection of its own, there is none in scripts and calls from modules")
            }
            Refused::Quarantine(left) => write!(
                f,
                "TRYAGAIN this server has just started and grants no locks for {} ms (redislock.start-quarantine)",
                left.0
            ),
            Refused::CoolShared => write!(f, "ERR COOL needs an exclusive hold, and this owner holds the lock shared"),
            Refused::Deadlock(links) => {
                write!(f, "DEADLOCK waiting would close a cycle: ")?;
                for (n, Link { waits, key, holds }) in links.iter().take(LINKS_SHOWN).enumerate() {
                    let comma = if n > 0 { ", " } else { "" };
                    write!(f, "{comma}{} waits for {} (lock {})", Quoted(waits), Quoted(holds), Quoted(key))?;
                }
                if links.len() > LINKS_SHOWN {
                    write!(f, ", and {} more", links.len() - LINKS_SHOWN)?;
                }
                Ok(())
            }
        }
    }
}

/// What a client wrote, safe to stand in an error line: the first 32 bytes, nothing that could end the line.
struct Quoted<'a>(&'a [u8]);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.0.get(..32).unwrap_or(self.0);
        write!(f, "'{}'{}", shown.escape_ascii(), if shown.len() < self.0.len() { "..." } else { "" })
    }
}

impl fmt::Display for BadRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use BadRequest::*;
        match self {
            Arity => write!(f, "ERR wrong number of arguments"),
            OwnerLength(len) => write!(f, "ERR owner must be 1 to {OWNER_LEN_MAX} bytes, not {len}"),
            OwnerStar => write!(
                f,
                "ERR owner '*' is for LOCK.ACQUIRE and LOCK.MACQUIRE only, name the owner that holds the lock"
            ),
            NumKeys => write!(f, "ERR numkeys must be a number from 1 to {KEYS_MAX}"),
            TooFewKeys => write!(f, "ERR numkeys is larger than the number of keys before the owner"),
            KeyTwice(key) => write!(f, "ERR key {} is given twice", Quoted(key)),
            Px(max) => write!(f, "ERR PX must be a number of milliseconds from 1 to {}", max.0),
            Ex(max) if max.0 < 1000 => {
                write!(f, "ERR EX is longer than redislock.max-lease, use PX with 1 to {} milliseconds", max.0)
            }
            Ex(max) => write!(f, "ERR EX must be a number of seconds from 1 to {}", max.0 / 1000),
            Block => write!(f, "ERR BLOCK must be a number of milliseconds from 0 (no limit) to {}", i64::MAX),
            Limit => write!(f, "ERR LIMIT must be a number from 1 to {}", crate::lock::Limit::MAX),
            Range(name, of, max) => write!(f, "ERR {name} must be a number {of}from 1 to {max}"),
            Number(name) => write!(f, "ERR {name} must be a number from 1 to {}", Fence::MAX.get()),
            RaiseTooFar(max) => {
                write!(f, "ERR RAISE must be at most 60 seconds ahead of this server's clock; the limit is now {max}")
            }
            Cursor => write!(f, "ERR cursor must be 0 or the number that the last call returned, at most {}", u32::MAX),
            Count => write!(f, "ERR COUNT must be a number from 1 to {COUNT_MAX}"),
            Pattern(len) => write!(f, "ERR MATCH must be a pattern of 1 to {PATTERN_LEN_MAX} bytes, not {len}"),
            Order => write!(f, "ERR BY must be WAITERS or WAITED"),
            NoValue(name) => write!(f, "ERR {name} needs a value"),
            Twice(name) => write!(f, "ERR {name} is given twice"),
            Both(one, other) => write!(f, "ERR {one} and {other} exclude each other"),
            Needs(one, other) => write!(f, "ERR {one} needs {other}"),
            Unknown(spelled, known) => {
                let mut words = Vec::new();
                known.iter().for_each(|group| group.for_each(&mut |option| words.push(option.word)));
                let one_of = if words.len() > 1 { "one of " } else { "" };
                write!(f, "ERR unknown option {}, expected {one_of}{}", Quoted(spelled), words.join(", "))
            }
        }
    }
}
