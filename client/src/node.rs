//! One place to ask: a server, whichever server Sentinels name, or whichever node of a cluster has the key.
//!
//! Short commands share a connection for each server; a wait has its own, because whatever is sent behind it waits with it.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ErrorKind, IntoConnectionInfo, RedisError, Value};
use tokio::time::timeout_at;

use crate::back::yes;
use crate::error::Error;
use crate::request::Asked;

/// How long a server may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(1);
/// How long an answer may take that no wait holds up, and how much later than asked for the end of a wait may be told.
const ANSWER: Duration = Duration::from_secs(2);
/// The pauses before a command is sent again.
const PAUSE_MIN: Duration = Duration::from_millis(5);
const PAUSE_MAX: Duration = Duration::from_millis(200);
/// What servers say that will be otherwise in a moment, here or elsewhere. With a named owner every command of a lock may be
/// sent again.
const PASSING: [&str; 9] =
    ["MOVED", "ASK", "TRYAGAIN", "CLUSTERDOWN", "LOADING", "READONLY", "UNBLOCKED", "MASTERDOWN", "NOREPLICAS"];

type Address = (String, u16);

/// How one finds the server to ask.
enum Entry {
    Server(Client),
    Sentinel { sentinels: Vec<Client>, name: String },
    Cluster { seeds: Vec<Client> },
}

/// A place to ask.
pub(crate) struct Node {
    entry: Entry,
    /// Which server a slot of a cluster was last found at; for Sentinel the primary, as slot 0.
    homes: Mutex<HashMap<u16, Address>>,
    /// The nodes of a cluster that were heard of.
    met: Mutex<Vec<Address>>,
    /// The connections that short commands share.
    shared: Mutex<HashMap<Address, MultiplexedConnection>>,
}

/// Where a command goes, and whether it is asked for a key of a slot that is still coming in.
struct Target {
    address: Address,
    client: Client,
    is_asking: bool,
}

impl Node {
    pub fn server(url: &str) -> Result<Node, Error> {
        Ok(Node::new(Entry::Server(Client::open(url)?)))
    }

    pub fn sentinel<'a>(urls: impl IntoIterator<Item = &'a str>, name: &str) -> Result<Node, Error> {
        let sentinels = open_all(urls, "a Sentinel must be named")?;
        Ok(Node::new(Entry::Sentinel { sentinels, name: name.to_owned() }))
    }

    pub fn cluster<'a>(urls: impl IntoIterator<Item = &'a str>) -> Result<Node, Error> {
        Ok(Node::new(Entry::Cluster { seeds: open_all(urls, "a node of the cluster must be named")? }))
    }

    fn new(entry: Entry) -> Node {
        Node { entry, homes: Mutex::default(), met: Mutex::default(), shared: Mutex::default() }
    }

    /// LOCK.ACQUIRE until then: the fence, or `None` if it was busy; and when the lease was asked for at the earliest.
    pub async fn acquire(&self, asked: &Asked, owner: &str, until: Instant) -> Result<(Option<u64>, Instant), Error> {
        loop {
            let sent = Instant::now();
            let wait = until.saturating_duration_since(sent);
            let may_wait = wait >= Duration::from_millis(1);
            let answer = if may_wait {
                // The time left is reckoned anew each time it is sent.
                let cmd = || asked.acquire(owner, Some(until.saturating_duration_since(Instant::now())));
                self.send(&asked.key, cmd, until, ANSWER, true).await?
            } else {
                self.call(&asked.key, &asked.acquire(owner, None), sent + ANSWER).await?
            };
            let Some(fence) = fence(answer)? else { return Ok((None, sent)) };
            if sent.elapsed() < asked.lease / 10 {
                return Ok((Some(fence), sent));
            }
            // The lease began somewhere in that time: from here on it is known.
            let sent = Instant::now();
            if yes(&self.call(&asked.key, &asked.extend(owner, fence), sent + ANSWER).await?) {
                return Ok((Some(fence), sent));
            }
        }
    }

    /// One command about this key, sent again until then when its answer is lost or the key's server changes.
    pub async fn call(&self, key: &[u8], cmd: &Cmd, until: Instant) -> Result<Value, Error> {
        self.send(key, || cmd.clone(), until, Duration::ZERO, false).await
    }

    async fn send(
        &self,
        key: &[u8],
        cmd: impl Fn() -> Cmd,
        until: Instant,
        grace: Duration,
        alone: bool,
    ) -> Result<Value, Error> {
        let slot = self.slot(key);
        let mut ask: Option<Address> = None;
        let mut pause = PAUSE_MIN;
        loop {
            let end = (until + grace).into();
            let error = match timeout_at(end, self.once(slot, &cmd(), ask.take(), alone)).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(error)) => error,
                Err(_) => {
                    self.forget(slot);
                    return Err(Error::Server((ErrorKind::Io, "no answer in time").into()));
                }
            };
            let code = error.code().unwrap_or_default();
            if !(error.is_io_error() || error.is_connection_dropped() || PASSING.contains(&code))
                || Instant::now() >= until
            {
                return Err(error.into());
            }
            match (code, error.redirect_node().and_then(|(address, _)| address_of(address))) {
                ("MOVED", Some(address)) => {
                    held(&self.homes).insert(slot, address);
                    continue;
                }
                ("ASK", Some(address)) => {
                    ask = Some(address);
                    continue;
                }
                ("TRYAGAIN", _) => {}
                _ => self.forget(slot),
            }
            tokio::time::sleep_until(until.min(Instant::now() + pause).into()).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// Sends it once.
    async fn once(&self, slot: u16, cmd: &Cmd, ask: Option<Address>, alone: bool) -> Result<Value, RedisError> {
        let Target { address, client, is_asking } = self.target(slot, ask).await?;
        let known = if alone { None } else { held(&self.shared).get(&address).cloned() };
        let mut connection = match known {
            Some(connection) => connection,
            None => {
                // Waiting has limits of its own.
                let config =
                    AsyncConnectionConfig::new().set_connection_timeout(Some(CONNECT)).set_response_timeout(None);
                let made = client.get_multiplexed_async_connection_with_config(&config).await?;
                if !alone {
                    held(&self.shared).insert(address, made.clone());
                }
                made
            }
        };
        if !is_asking {
            return cmd.query_async(&mut connection).await;
        }
        let mut both = redis::pipe();
        both.cmd("ASKING").ignore().add_command(cmd.clone());
        let (answer,) = both.query_async(&mut connection).await?;
        Ok(answer)
    }

    /// Finds the server to ask.
    async fn target(&self, slot: u16, ask: Option<Address>) -> Result<Target, RedisError> {
        let is_asking = ask.is_some();
        let known = ask.or_else(|| held(&self.homes).get(&slot).cloned());
        let client = match (&self.entry, known) {
            (Entry::Server(client), _) => client.clone(),
            (Entry::Sentinel { .. }, Some(address)) => Client::open(address)?,
            (Entry::Sentinel { sentinels, name }, None) => {
                let address = primary(sentinels, name).await?;
                held(&self.homes).insert(slot, address.clone());
                Client::open(address)?
            }
            (Entry::Cluster { seeds }, Some(address)) => at(seeds, address)?,
            (Entry::Cluster { seeds }, None) => {
                // Nodes that were met answer too, when those that were named are gone.
                let met = held(&self.met).clone();
                let mut nodes = seeds.clone();
                nodes.extend(met.into_iter().filter_map(|address| at(seeds, address).ok()));
                let ranges = first_that_answers(&nodes, |node| async move {
                    let mut connection = node.get_multiplexed_async_connection().await?;
                    let ranges: Vec<Vec<Value>> =
                        redis::cmd("CLUSTER").arg("SLOTS").query_async(&mut connection).await?;
                    if ranges.is_empty() {
                        return Err((ErrorKind::Io, "this node knows no slots").into());
                    }
                    Ok(ranges)
                })
                .await?;
                let (home, all) = nodes_of(ranges, slot);
                *held(&self.met) = all;
                let Some(home) = home else { return Err((ErrorKind::Io, "nobody serves this slot").into()) };
                held(&self.homes).insert(slot, home.clone());
                at(seeds, home)?
            }
        };
        let address = match client.get_connection_info().addr() {
            ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => (host.clone(), *port),
            other => (other.to_string(), 0),
        };
        Ok(Target { address, client, is_asking })
    }

    /// Whatever was known of this slot's server may be wrong.
    fn forget(&self, slot: u16) {
        held(&self.homes).remove(&slot);
        held(&self.shared).clear();
    }

    fn slot(&self, key: &[u8]) -> u16 {
        match self.entry {
            Entry::Server(_) | Entry::Sentinel { .. } => 0,
            Entry::Cluster { .. } => crc16::State::<crc16::XMODEM>::calculate(hashed(key)) % 16384,
        }
    }
}

/// The fence of LOCK.ACQUIRE's answer.
fn fence(answer: Value) -> Result<Option<u64>, RedisError> {
    match answer {
        Value::Nil => Ok(None),
        Value::Int(fence) if fence > 0 => Ok(Some(fence.unsigned_abs())),
        _ => Err((ErrorKind::UnexpectedReturnType, "LOCK.ACQUIRE answered no fence").into()),
    }
}

/// The part of a key that is hashed: what stands in its first `{}`, unless that is empty.
fn hashed(key: &[u8]) -> &[u8] {
    let tag = || {
        let open = key.iter().position(|byte| *byte == b'{')? + 1;
        let rest = key.get(open..)?;
        let close = rest.iter().position(|byte| *byte == b'}')?;
        rest.get(..close).filter(|tag| !tag.is_empty())
    };
    tag().unwrap_or(key)
}

fn open_all<'a>(urls: impl IntoIterator<Item = &'a str>, none: &'static str) -> Result<Vec<Client>, Error> {
    let clients =
        urls.into_iter().map(|url| Client::open(url.into_connection_info()?)).collect::<Result<Vec<_>, _>>()?;
    if clients.is_empty() {
        Err(Error::Invalid(none))
    } else {
        Ok(clients)
    }
}

/// `host:port`; the host of an IPv6 address has colons too.
fn address_of(text: &str) -> Option<Address> {
    let (host, port) = text.rsplit_once(':')?;
    Some((host.to_owned(), port.parse().ok()?))
}

/// The node of the cluster there.
fn at(seeds: &[Client], (host, port): Address) -> Result<Client, RedisError> {
    let Some(first) = seeds.first() else { return Err((ErrorKind::Client, "no node").into()) };
    Client::open(first.get_connection_info().clone().set_addr(ConnectionAddr::Tcp(host, port)))
}

/// Out of what CLUSTER SLOTS answers (from, to, primary, replicas): who has this slot, and all there are.
fn nodes_of(ranges: Vec<Vec<Value>>, slot: u16) -> (Option<Address>, Vec<Address>) {
    let mut home = None;
    let mut all = Vec::new();
    for range in ranges {
        let mut parts = range.into_iter();
        let (Some(Value::Int(from)), Some(Value::Int(to))) = (parts.next(), parts.next()) else { continue };
        let address = |node: Value| match node {
            Value::Array(node) => {
                redis::from_redis_value::<(String, u16)>(Value::Array(node.into_iter().take(2).collect())).ok()
            }
            _ => None,
        };
        let nodes: Vec<Address> = parts.filter_map(address).collect();
        if (from..=to).contains(&i64::from(slot)) {
            home = nodes.first().cloned();
        }
        all.extend(nodes);
    }
    (home, all)
}

/// Whom the Sentinels call the primary.
async fn primary(sentinels: &[Client], name: &str) -> Result<Address, RedisError> {
    first_that_answers(sentinels, |client| async move {
        let mut connection = client.get_multiplexed_async_connection().await?;
        let mut question = redis::cmd("SENTINEL");
        question.arg("GET-MASTER-ADDR-BY-NAME").arg(name);
        let found: Option<Address> = question.query_async(&mut connection).await?;
        found.ok_or_else(|| (ErrorKind::Io, "the Sentinel does not know this primary").into())
    })
    .await
}

/// Asks one after the other.
async fn first_that_answers<T, F>(clients: &[Client], ask: impl Fn(Client) -> F) -> Result<T, RedisError>
where
    F: Future<Output = Result<T, RedisError>>,
{
    let mut last = RedisError::from((ErrorKind::Io, "nobody to ask"));
    for client in clients {
        match ask(client.clone()).await {
            Ok(found) => return Ok(found),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::hashed;

    #[test]
    fn keys_with_one_tag_have_one_slot() {
        for (key, part) in [("k", "k"), ("{a}b", "a"), ("x{a}{b}", "a"), ("{}a", "{}a"), ("{a", "{a"), ("a}{b}", "b")] {
            assert_eq!(hashed(key.as_bytes()), part.as_bytes(), "{key}");
        }
    }
}
