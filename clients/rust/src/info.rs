//! What servers tell about locks: LOCK.INFO and LOCK.LIST.

use std::collections::HashMap;
use std::time::Duration;

use redis::Value;
use tokio::time::Instant;

use crate::client::Client;
use crate::error::Error;
use crate::net::endpoint::Effort;
use crate::reply::unexpected;

/// How many locks one call of LOCK.LIST looks at.
const PAGE: u32 = 1000;

/// Who holds a lock and who waits for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LockInfo {
    /// `exclusive`, `shared`, `cooling` or `free`.
    pub mode: String,
    /// How many owners hold the lock.
    pub holders_count: u64,
    /// The first 100 holders, by fence.
    pub holders: Vec<Holder>,
    /// How many clients wait.
    pub waiters: u64,
    /// The first 10 waiters.
    pub queue: Vec<Waiter>,
    /// How long the lock still cools; zero if it does not.
    pub cooling: Duration,
}

/// An owner that holds a lock.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Holder {
    /// The name of the owner. Bytes that are not UTF-8 are replaced.
    pub owner: String,
    /// The fencing token of the hold.
    pub fence: u64,
    /// How long the lease still lasts.
    pub ttl: Duration,
    /// How long ago the lock was granted.
    pub held: Duration,
    /// The limit of a counted hold, or 0.
    pub limit: u32,
    /// The units that the hold takes.
    pub weight: u32,
    /// The client id of the connection with which the hold ends, or 0.
    pub session: u64,
    /// How long until the hold ends however often it is renewed, if there is such a time.
    pub max: Option<Duration>,
}

/// An owner that waits for a lock.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Waiter {
    /// The name of the owner. Bytes that are not UTF-8 are replaced.
    pub owner: String,
    /// `exclusive` or `shared`.
    pub mode: String,
    /// How long it has waited.
    pub waited: Duration,
    /// The id of its connection, as CLIENT LIST shows it.
    pub client: u64,
}

/// Which locks [`Locks::list`](crate::Locks::list) returns: all, unless something is set.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    pattern: Option<Vec<u8>>,
    owner: Option<String>,
}

impl Filter {
    /// All locks.
    pub fn all() -> Filter {
        Filter::default()
    }

    /// Only locks whose key matches this pattern, as in the Redis command KEYS.
    pub fn matching(mut self, pattern: impl Into<Vec<u8>>) -> Filter {
        self.pattern = Some(pattern.into());
        self
    }

    /// Only locks that this owner holds.
    pub fn held_by(mut self, owner: impl Into<String>) -> Filter {
        self.owner = Some(owner.into());
        self
    }
}

/// A lock in a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Listed {
    /// The key.
    pub key: Vec<u8>,
    /// `exclusive`, `shared` or `cooling`.
    pub mode: String,
    /// The holder with the smallest fence, or the owner that the filter names.
    pub owner: String,
    /// How many owners hold the lock.
    pub holders_count: u64,
    /// The fence of this owner's hold.
    pub fence: u64,
    /// How long its lease still lasts.
    pub ttl: Duration,
    /// How long ago it was granted.
    pub held: Duration,
    /// How many clients wait.
    pub waiters: u64,
}

/// Asks the server that has the key, or the first of a quorum that answers.
pub(crate) async fn info(client: &Client, key: &[u8]) -> Result<Option<LockInfo>, Error> {
    let mut cmd = redis::cmd("LOCK.INFO");
    cmd.arg(key);
    let mut last = Error::NoQuorum;
    let endpoints = client.backend.endpoints();
    let effort = if endpoints.len() == 1 { Effort::Persistent } else { Effort::Once };
    for endpoint in endpoints {
        let deadline = Instant::now() + client.core().request_timeout * 2;
        match endpoint.call(key, &cmd, deadline, effort).await {
            Ok(reply) => return parse_info(reply.value),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Asks every primary for its locks.
pub(crate) async fn list(client: &Client, filter: &Filter) -> Result<Vec<Listed>, Error> {
    let [endpoint] = client.backend.endpoints() else {
        return Err(Error::Invalid("the servers of a quorum list different locks: ask them one by one"));
    };
    let mut listed = Vec::new();
    for node in endpoint.directory.primaries().await? {
        let mut cursor = "0".to_owned();
        loop {
            let mut cmd = redis::cmd("LOCK.LIST");
            cmd.arg(&cursor).arg("COUNT").arg(PAGE);
            if let Some(pattern) = &filter.pattern {
                cmd.arg("MATCH").arg(pattern.as_slice());
            }
            if let Some(owner) = &filter.owner {
                cmd.arg("OWNER").arg(owner);
            }
            let reply = endpoint.ask(&node, &cmd).await?;
            let page = redis::from_redis_value::<(String, Vec<Value>)>(reply.clone());
            let (next, locks) = page.map_err(|_| unexpected("a cursor and locks", &reply))?;
            listed.extend(locks.into_iter().filter_map(Fields::new).map(|mut lock| Listed {
                key: lock.bytes("key"),
                mode: lock.text("mode"),
                owner: lock.text("owner"),
                holders_count: lock.number("holders-count"),
                fence: lock.number("fence"),
                ttl: lock.millis("ttl"),
                held: lock.millis("held"),
                waiters: lock.number("waiters"),
            }));
            if next == "0" {
                break;
            }
            cursor = next;
        }
    }
    Ok(listed)
}

fn parse_info(reply: Value) -> Result<Option<LockInfo>, Error> {
    if reply == Value::Nil {
        return Ok(None);
    }
    let mut lock = Fields::new(reply.clone()).ok_or_else(|| unexpected("a map", &reply))?;
    let holders = lock.list("holders").into_iter().map(|mut holder| Holder {
        owner: holder.text("owner"),
        fence: holder.number("fence"),
        ttl: holder.millis("ttl"),
        held: holder.millis("held"),
        limit: u32::try_from(holder.number("limit")).unwrap_or(u32::MAX),
        weight: u32::try_from(holder.number("weight")).unwrap_or(u32::MAX),
        session: holder.number("session"),
        max: Some(holder.millis("max")).filter(|max| !max.is_zero()),
    });
    let holders = holders.collect();
    let queue = lock.list("queue").into_iter().map(|mut waiter| Waiter {
        owner: waiter.text("owner"),
        mode: waiter.text("mode"),
        waited: waiter.millis("waited"),
        client: waiter.number("client"),
    });
    let queue = queue.collect();
    Ok(Some(LockInfo {
        mode: lock.text("mode"),
        holders_count: lock.number("holders-count"),
        holders,
        waiters: lock.number("waiters"),
        queue,
        cooling: lock.millis("cooling"),
    }))
}

/// The fields of a map. A field that a server does not send is empty.
struct Fields(HashMap<String, Value>);

impl Fields {
    fn new(map: Value) -> Option<Fields> {
        redis::from_redis_value(map).ok().map(Fields)
    }

    fn take(&mut self, name: &str) -> Value {
        self.0.remove(name).unwrap_or(Value::Nil)
    }

    fn bytes(&mut self, name: &str) -> Vec<u8> {
        redis::from_redis_value(self.take(name)).unwrap_or_default()
    }

    fn text(&mut self, name: &str) -> String {
        String::from_utf8_lossy(&self.bytes(name)).into_owned()
    }

    fn number(&mut self, name: &str) -> u64 {
        redis::from_redis_value(self.take(name)).unwrap_or(0)
    }

    fn millis(&mut self, name: &str) -> Duration {
        Duration::from_millis(self.number(name))
    }

    fn list(&mut self, name: &str) -> Vec<Fields> {
        match self.take(name) {
            Value::Array(parts) => parts.into_iter().filter_map(Fields::new).collect(),
            _ => Vec::new(),
        }
    }
}
