//! The errors of this crate.

use std::fmt;

/// Why a lock was not acquired, or is no longer held.
///
/// Errors that a server sent carry its text: see [`Error::server_error`].
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Other owners held the lock until the time limit.
    #[error("the lock was not acquired in time")]
    NotAcquired,
    /// The hold has ended: its lease expired, or an operator removed it. Another owner may have held the lock since.
    #[error("the lock is no longer held")]
    NotHeld,
    /// The server refused the wait, because owners would wait for one another in a circle. The text names them and
    /// their locks. Release what this owner holds, and start again.
    #[error("{0}")]
    Deadlock(ServerError),
    /// The key holds something else than a lock.
    #[error("{0}")]
    WrongType(ServerError),
    /// The user may not run the command, or not on this key, or the password is wrong.
    #[error("{0}")]
    NoPermission(ServerError),
    /// A limit of the server is reached: waiters, holders, or memory.
    #[error("{0}")]
    TooMany(ServerError),
    /// Any other error that the server sent. Errors that end by themselves, such as `READONLY` during a failover, are
    /// reported only if they last until the time limit.
    #[error("{0}")]
    Server(ServerError),
    /// Too few replicas confirmed the grant in time. The lock has been released.
    #[error("{confirmed} of {wanted} replicas confirmed the grant in time, so the lock was released")]
    NotDurable {
        /// How many replicas had to confirm the grant.
        wanted: u32,
        /// How many did.
        confirmed: u32,
    },
    /// Too few servers of a quorum answered in time, or too few could agree on a fence. If most servers answered that
    /// another owner holds the lock, the error is [`Error::NotAcquired`] instead.
    #[error("too few servers of the quorum answered or agreed")]
    NoQuorum,
    /// No server could be reached within the time limit, or none answered. The text says why.
    #[error("{0}")]
    Unreachable(String),
    /// The client was closed: see [`Locks::close`](crate::Locks::close).
    #[error("the client was closed")]
    Closed,
    /// An argument is out of range, or does not fit the others; the text says which.
    #[error("{0}")]
    Invalid(&'static str),
}

/// An error reply of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerError {
    code: String,
    text: String,
}

impl ServerError {
    pub(crate) fn new(code: &str, detail: Option<&str>) -> ServerError {
        let text = match detail {
            Some(detail) if !detail.is_empty() => format!("{code} {detail}"),
            _ => code.to_owned(),
        };
        ServerError { code: code.to_owned(), text }
    }

    /// The first word of the reply, such as `WRONGTYPE` or `ERR`.
    pub fn code(&self) -> &str {
        &self.code
    }

    /// The whole reply as the server sent it, including the first word.
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for ServerError {}

impl Error {
    /// The error reply of the server, if this error is one.
    pub fn server_error(&self) -> Option<&ServerError> {
        match self {
            Error::Deadlock(error)
            | Error::WrongType(error)
            | Error::NoPermission(error)
            | Error::TooMany(error)
            | Error::Server(error) => Some(error),
            _ => None,
        }
    }
}

/// Why one command got no usable reply.
#[derive(Clone, Debug)]
pub(crate) enum Failure {
    /// The server replied with an error.
    Reply(ServerError),
    /// The connection ended, or was given up, after the command may have been sent.
    Lost(String),
    /// There is no connection, so the command was not sent.
    Unsent(String),
}

/// Error codes of states that end by themselves, or that another server does not have. Every command of a lock names
/// its owner, so it may be sent again after any of them.
const TRANSIENT: [&str; 10] =
    ["MOVED", "ASK", "TRYAGAIN", "CLUSTERDOWN", "LOADING", "BUSY", "READONLY", "UNBLOCKED", "MASTERDOWN", "NOREPLICAS"];

impl Failure {
    /// Whether the command may succeed if it is sent again. Redirections make sense only in a cluster.
    pub fn is_transient(&self, is_cluster: bool) -> bool {
        match self {
            Failure::Reply(error) if matches!(error.code(), "MOVED" | "ASK") => is_cluster,
            Failure::Reply(error) => {
                TRANSIENT.contains(&error.code()) || error.text().starts_with("ERR max number of clients reached")
            }
            Failure::Lost(_) | Failure::Unsent(_) => true,
        }
    }

    /// The address in a redirection of this kind, `MOVED` or `ASK`. An address without a host is on the host that was
    /// asked.
    pub fn redirection(&self, kind: &str, asked_host: &str) -> Option<(String, u16)> {
        let Failure::Reply(error) = self else { return None };
        if error.code() != kind {
            return None;
        }
        let (host, port) = error.text().split_whitespace().nth(2)?.rsplit_once(':')?;
        let host = if host.is_empty() { asked_host } else { host };
        Some((host.to_owned(), port.parse().ok()?))
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Error {
        match failure {
            Failure::Reply(error) => match error.code() {
                "DEADLOCK" => Error::Deadlock(error),
                "WRONGTYPE" => Error::WrongType(error),
                "NOPERM" | "NOAUTH" | "WRONGPASS" => Error::NoPermission(error),
                "OOM" => Error::TooMany(error),
                // The text names the setting that limits it.
                _ if error.text().contains("redislock.max-") => Error::TooMany(error),
                _ => Error::Server(error),
            },
            Failure::Lost(text) | Failure::Unsent(text) => Error::Unreachable(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirections_name_a_node() {
        let reply = |text: &str| {
            let (code, detail) = text.split_once(' ').unwrap();
            Failure::Reply(ServerError::new(code, Some(detail)))
        };
        let moved = reply("MOVED 3999 127.0.0.1:6381");
        assert_eq!(moved.redirection("MOVED", "h"), Some(("127.0.0.1".into(), 6381)));
        assert_eq!(moved.redirection("ASK", "h"), None);
        assert_eq!(reply("ASK 1 :7").redirection("ASK", "asked"), Some(("asked".into(), 7)));
        assert_eq!(reply("MOVED 1 ::1:7").redirection("MOVED", "h"), Some(("::1".into(), 7)));
        assert!(moved.is_transient(true) && !moved.is_transient(false));
    }
}
