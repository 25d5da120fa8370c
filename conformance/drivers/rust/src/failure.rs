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
            Error::Deadlock(_) => "deadlock",
            Error::WrongType(_) => "wrong-type",
            Error::NoPermission(_) => "no-permission",
            Error::TooMany(_) => "too-many",
            Error::NotDurable { .. } => "not-durable",
            Error::NoQuorum => "no-quorum",
            Error::Server(_) => "server",
            Error::Unreachable(_) => "connection",
            Error::Closed => "closed",
            // `Invalid`: the request does not fit the client.
            _ => "usage",
        };
        Failure { kind, message: error.to_string() }
    }
}
