//! Requests, answers and events as JSON.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{json, Value};

use crate::failure::Failure;

/// A line to the runner: an answer or an event.
pub type Line = Value;

/// A request of the runner. Members that a request does not have are `None`, and unknown ones are ignored.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Request {
    pub id: u64,
    #[serde(rename = "do")]
    pub action: String,
    /// The name of a connected client; `main` if it is absent.
    pub locks: Option<String>,
    pub deployment: Option<String>,
    pub urls: Vec<String>,
    pub service: Option<String>,
    pub label: Option<String>,
    pub request_timeout_ms: Option<u64>,
    pub max_connections: Option<usize>,
    pub share_waits: Option<bool>,
    pub hold: Option<String>,
    pub key: Option<String>,
    pub keys: Option<Vec<String>>,
    pub lease_ms: Option<u64>,
    pub timeout_ms: Option<u64>,
    pub mode: Option<String>,
    pub limit: Option<u32>,
    pub weight: Option<u32>,
    pub max_ms: Option<u64>,
    pub delay_ms: Option<u64>,
    pub cool_ms: Option<u64>,
    pub session: Option<bool>,
    pub renew: Option<bool>,
    pub scope: Option<String>,
    pub durable: Option<u32>,
    pub reentrant: Option<bool>,
    /// The id of the request that `cancel` is about.
    pub request: Option<u64>,
    pub leader: Option<String>,
    pub observer: Option<String>,
    /// How long `block` blocks.
    pub for_ms: Option<u64>,
}

impl Request {
    /// The name of the client that the request is about.
    pub fn locks(&self) -> &str {
        self.locks.as_deref().unwrap_or("main")
    }

    /// The member of the request, or a failure that names it.
    pub fn need<'a>(&self, name: &str, member: Option<&'a String>) -> Result<&'a str, Failure> {
        member.map(String::as_str).ok_or_else(|| Failure::usage(format!("{} needs `{name}`", self.action)))
    }

    /// How long an acquisition may wait: without limit if the request does not say it.
    pub fn timeout(&self) -> Duration {
        self.timeout_ms.map_or(Duration::MAX, Duration::from_millis)
    }
}

/// The answer to the request with this id.
pub fn answer(id: u64, outcome: Result<Value, Failure>) -> Line {
    match outcome {
        Ok(value) => json!({"id": id, "ok": value}),
        Err(Failure { kind, message }) => json!({"id": id, "error": {"kind": kind, "message": message}}),
    }
}
