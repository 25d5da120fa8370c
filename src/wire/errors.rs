//! Every error text of a bad request, in one place. Each says what is allowed.

use std::fmt;

use crate::lock::{Fence, Millis, OWNER_LEN_MAX};

/// Why a request makes no sense. Found before any key is looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BadRequest {
    /// Fewer arguments than the command needs.
    Arity,
    /// The owner is empty or too long: its length in bytes.
    OwnerLength(usize),
    /// `*` where an owner must be named.
    OwnerStar,
    /// PX outside its range or no number: the longest lease allowed now.
    Px(Millis),
    /// EX outside its range or no number: the longest lease allowed now.
    Ex(Millis),
    /// BLOCK outside its range or no number.
    Block,
    /// LIMIT outside its range or no number.
    Limit,
    /// FENCE or RAISE outside its range or no number.
    Number(&'static str),
    /// RAISE beyond what the clock allows now: the largest number allowed.
    RaiseTooFar(u64),
    /// The option ends the command but needs a value.
    NoValue(&'static str),
    /// The option stands twice.
    Twice(&'static str),
    /// Two options that exclude each other.
    Both(&'static str, &'static str),
    /// The first option makes sense only beside the second.
    Needs(&'static str, &'static str),
    /// No such option: as it was spelled, and those there are.
    Unknown(Vec<u8>, &'static str),
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
            OwnerStar => write!(f, "ERR owner '*' is for LOCK.ACQUIRE only, name the owner that holds the lock"),
            Px(max) => write!(f, "ERR PX must be a number of milliseconds from 1 to {}", max.0),
            Ex(max) if max.0 < 1000 => {
                write!(f, "ERR EX is longer than redislock.max-lease, use PX with 1 to {} milliseconds", max.0)
            }
            Ex(max) => write!(f, "ERR EX must be a number of seconds from 1 to {}", max.0 / 1000),
            Block => write!(f, "ERR BLOCK must be a number of milliseconds from 0 (no limit) to {}", i64::MAX),
            Limit => write!(f, "ERR LIMIT must be a number from 1 to {}", crate::lock::Limit::MAX),
            Number(name) => write!(f, "ERR {name} must be a number from 1 to {}", Fence::MAX.get()),
            RaiseTooFar(max) => {
                write!(f, "ERR RAISE must be at most 60 seconds ahead of this server's clock, now {max}")
            }
            NoValue(name) => write!(f, "ERR {name} needs a value"),
            Twice(name) => write!(f, "ERR {name} is given twice"),
            Both(one, other) => write!(f, "ERR {one} and {other} exclude each other"),
            Needs(one, other) => write!(f, "ERR {one} needs {other}"),
            Unknown(spelled, known) => write!(f, "ERR unknown option {}, expected one of {known}", Quoted(spelled)),
        }
    }
}
