//! Every error text of a bad request, in one place. Each says what is allowed.

use std::fmt;

use super::LEASE_MAX_MS;
use crate::lock::{Fence, OWNER_LEN_MAX};

/// Why a request makes no sense. Found before any key is looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BadRequest {
    /// Fewer arguments than the command needs.
    Arity,
    /// The owner is empty or too long: its length in bytes.
    OwnerLength(usize),
    /// `*` where an owner must be named.
    OwnerStar,
    /// PX outside its range or no number.
    Px,
    /// EX outside its range or no number.
    Ex,
    /// BLOCK outside its range or no number.
    Block,
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
    /// No such option: as it was spelled, and those there are.
    Unknown(Vec<u8>, &'static str),
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
            Px => write!(f, "ERR PX must be a number of milliseconds from 1 to {LEASE_MAX_MS}"),
            Ex => write!(f, "ERR EX must be a number of seconds from 1 to {}", LEASE_MAX_MS / 1000),
            Block => write!(f, "ERR BLOCK must be a number of milliseconds from 0 (no limit) to {}", i64::MAX),
            Number(name) => write!(f, "ERR {name} must be a number from 1 to {}", Fence::MAX.get()),
            RaiseTooFar(max) => {
                write!(f, "ERR RAISE must be at most 60 seconds ahead of this server's clock, now {max}")
            }
            NoValue(name) => write!(f, "ERR {name} needs a value"),
            Twice(name) => write!(f, "ERR {name} is given twice"),
            Both(one, other) => write!(f, "ERR {one} and {other} exclude each other"),
            Unknown(spelled, known) => write!(f, "ERR unknown option {}, expected one of {known}", Quoted(spelled)),
        }
    }
}
