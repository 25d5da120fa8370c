//! Replies to `LOCK.*` commands, and what they mean.

use redis::{ErrorKind, RedisError, Value};

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
    /// Reads the reply to LOCK.RELEASE.
    pub fn from_reply(reply: &Reply) -> Released {
        match (is_one(&reply.value), reply.is_retried) {
            (true, _) => Released::Held,
            (false, false) => Released::NotHeld,
            (false, true) => Released::Unsure,
        }
    }
}

/// Whether the reply is the integer 1, which LOCK.EXTEND and LOCK.RELEASE send on success.
pub(crate) fn is_one(value: &Value) -> bool {
    *value == Value::Int(1)
}

/// Reads the fence from the reply to LOCK.ACQUIRE; `None` if the lock was not granted.
pub(crate) fn parse_fence(value: &Value) -> Result<Option<u64>, RedisError> {
    match value {
        Value::Nil => Ok(None),
        Value::Int(fence) if *fence > 0 => Ok(Some(fence.unsigned_abs())),
        _ => Err((ErrorKind::UnexpectedReturnType, "the reply to LOCK.ACQUIRE is not a fence").into()),
    }
}

/// Whether the server may have executed the command although its reply did not arrive.
pub(crate) fn is_reply_lost(error: &RedisError) -> bool {
    error.is_io_error() || error.is_connection_dropped()
}
