//! Why a request failed, in the words of the protocol.

use redis_lock_client::Error;

/// A failed request.
#[derive(Debug)]
pub struct Failure {
    pub kind: &'static str,
    pub message: String,
}

impl Failure {
    pub fn usage(message: impl Into<String>) -> Failure {
        Failure { kind: "usage", message: message.into() }
    }

    pub fn unsupported(what: &str) -> Failure {
        Failure { kind: "unsupported", message: format!("the Rust client does not have this: {what}") }
    }

    pub fn cancelled() -> Failure {
        Failure { kind: "cancelled", message: "the caller cancelled the acquisition".to_owned() }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        let kind = match &error {
            Error::NotAcquired => "timeout",
            Error::NotHeld => "not-held",
            Error::NoQuorum => "no-quorum",
            Error::Server(reply) => match reply.code() {
                Some("WRONGTYPE") => "wrong-type",
                Some("NOPERM") => "no-permission",
                Some("DEADLOCK") => "deadlock",
                Some("OOM") => "too-many",
                Some(_) if reply.to_string().contains("redislock.max-") => "too-many",
                Some(_) => "server",
                None => "connection",
            },
            _ => "usage",
        };
        Failure { kind, message: error.to_string() }
    }
}
