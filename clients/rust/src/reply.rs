//! Replies to `LOCK.*` commands, and what they mean.

use std::time::Duration;

use redis::Value;

use crate::error::{Error, Failure, ServerError};

/// The reply to a command that may have been sent more than once.
pub(crate) struct Reply {
    pub value: Value,
    /// The reply to an earlier attempt was lost, so the server may have executed the command before this attempt.
    pub is_retried: bool,
}

/// The outcome of LOCK.RELEASE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Released {
    /// The owner held the lock until this release.
    Held,
    /// The owner did not hold the lock.
    NotHeld,
    /// The reply to an earlier attempt was lost and the last reply was "not held", so the earlier attempt may have
    /// released the lock.
    Unsure,
}

impl Released {
    /// Reads the reply to a release of so many locks.
    pub fn from_reply(reply: &Reply, all: i64) -> Released {
        match (reply.value == Value::Int(all), reply.is_retried) {
            (true, _) => Released::Held,
            (false, false) => Released::NotHeld,
            (false, true) => Released::Unsure,
        }
    }
}

/// What LOCK.CHECK says about an owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Checked {
    NotHeld,
    Held { fence: u64, remaining: Duration },
}

/// Whether the reply is the integer 1, which LOCK.EXTEND sends on success.
pub(crate) fn is_one(value: &Value) -> bool {
    *value == Value::Int(1)
}

/// Reads the fences from the reply to LOCK.ACQUIRE or LOCK.MACQUIRE; `None` if nothing was granted.
pub(crate) fn parse_fences(value: &Value) -> Result<Option<Vec<u64>>, Error> {
    let fence = |value: &Value| match value {
        Value::Int(fence) if *fence > 0 => Some(fence.unsigned_abs()),
        _ => None,
    };
    let fences = match value {
        Value::Nil => return Ok(None),
        Value::Array(fences) => fences.iter().map(fence).collect(),
        other => fence(other).map(|fence| vec![fence]),
    };
    fences.filter(|fences: &Vec<u64>| !fences.is_empty()).map(Some).ok_or_else(|| unexpected("a fence", value))
}

/// Reads the reply to LOCK.CHECK.
pub(crate) fn parse_check(value: &Value) -> Result<Checked, Error> {
    match value {
        Value::Nil => Ok(Checked::NotHeld),
        Value::Array(parts) => match parts.as_slice() {
            [Value::Int(fence), Value::Int(ms), ..] => {
                let remaining = Duration::from_millis(u64::try_from(*ms).unwrap_or(0));
                Ok(Checked::Held { fence: fence.unsigned_abs(), remaining })
            }
            _ => Err(unexpected("a fence and a time", value)),
        },
        _ => Err(unexpected("a fence and a time", value)),
    }
}

/// A reply that does not fit the command, which only another product or another version can send.
pub(crate) fn unexpected(wanted: &str, value: &Value) -> Error {
    let text = format!("the server replied with {value:?} instead of {wanted}");
    Error::Server(ServerError::new("ERR", Some(&text)))
}

/// The failure that a reply is, if it is one.
pub(crate) fn check_value(value: Value) -> Result<Value, Failure> {
    match value {
        Value::ServerError(error) => Err(Failure::Reply(ServerError::new(error.code(), error.details()))),
        value => Ok(value),
    }
}
