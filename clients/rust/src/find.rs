//! Which server to ask: the one that was named, the primary that Sentinels name, the node of a cluster that has the slot.

use std::collections::HashMap;
use std::future::Future;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Mutex;
use std::time::Duration;

use redis::io::tcp::{socket2::TcpKeepalive, TcpSettings};
use redis::{Client, ConnectionAddr, ConnectionInfo, ErrorKind, IntoConnectionInfo, RedisError, Value};

use crate::error::Error;
use crate::node::locked;

/// A peer that vanished without a word is given up after 10 s of silence and three questions, 5 s apart: a wait without
/// limit would wait for it for ever.
const SILENCE: Duration = Duration::from_secs(10);
const QUESTION: Duration = Duration::from_secs(5);
const QUESTIONS: u32 = 3;

/// Host and port.
pub(crate) type Address = (String, u16);

/// What one has to begin with.
enum Entry {
    Server(Client),
    /// `like`: how the primary is asked once its address is known.
    Sentinel {
        sentinels: Vec<Client>,
        name: String,
        like: ConnectionInfo,
    },
    Cluster {
        seeds: Vec<Client>,
    },
}

/// Knows where a slot is; what is no cluster has one slot only.
pub(crate) struct Finder {
    entry: Entry,
    /// At which server a slot was last found.
    homes: Mutex<HashMap<u16, Address>>,
    /// The nodes of a cluster that were heard of: they answer when those that were named are gone.
    met: Mutex<Vec<Address>>,
    /// Who is asked first. Moves on whenever the answer was wrong: one that is cut off from the others knows no better.
    turn: AtomicUsize,
}

impl Finder {
    pub fn server(url: &str) -> Result<Finder, Error> {
        Ok(Finder::new(Entry::Server(client(info(url)?)?)))
    }

    pub fn sentinel<'a>(urls: impl IntoIterator<Item = &'a str>, name: &str, like: &str) -> Result<Finder, Error> {
        let sentinels = clients(urls, "a Sentinel must be named")?;
        Ok(Finder::new(Entry::Sentinel { sentinels, name: name.to_owned(), like: info(like)? }))
    }

    pub fn cluster<'a>(urls: impl IntoIterator<Item = &'a str>) -> Result<Finder, Error> {
        Ok(Finder::new(Entry::Cluster { seeds: clients(urls, "a node of the cluster must be named")? }))
    }

    fn new(entry: Entry) -> Finder {
        Finder { entry, homes: Mutex::default(), met: Mutex::default(), turn: AtomicUsize::new(0) }
    }

    /// Where the server is that was named.
    pub fn named(&self) -> Option<Address> {
        match &self.entry {
            Entry::Server(client) => Some(address(client)),
            Entry::Sentinel { .. } | Entry::Cluster { .. } => None,
        }
    }

    /// The slot of a key.
    pub fn slot(&self, key: &[u8]) -> u16 {
        match self.entry {
            Entry::Server(_) | Entry::Sentinel { .. } => 0,
            Entry::Cluster { .. } => crc16::State::<crc16::XMODEM>::calculate(hashed(key)) % 16384,
        }
    }

    /// The server that has the slot.
    pub async fn find(&self, slot: u16) -> Result<Client, RedisError> {
        let known = locked(&self.homes).get(&slot).cloned();
        match (&self.entry, known) {
            (Entry::Server(client), _) => Ok(client.clone()),
            (_, Some(address)) => self.at(address),
            (Entry::Sentinel { sentinels, name, .. }, None) => {
                let address = self.first_answer(sentinels, |client| primary(client, name)).await?;
                locked(&self.homes).insert(slot, address.clone());
                self.at(address)
            }
            (Entry::Cluster { seeds }, None) => {
                let met = locked(&self.met).clone();
                let met = met.into_iter().filter_map(|address| self.at(address).ok());
                let nodes: Vec<Client> = seeds.iter().cloned().chain(met).collect();
                let ranges = self.first_answer(&nodes, ranges).await?;
                let home =
                    ranges.iter().find(|range| range.slots.contains(&slot)).and_then(|range| range.nodes.first());
                let home = home.cloned().ok_or_else(|| io_error("nobody serves this slot"))?;
                *locked(&self.met) = ranges.into_iter().flat_map(|range| range.nodes).collect();
                locked(&self.homes).insert(slot, home.clone());
                self.at(home)
            }
        }
    }

    /// The server at this address, with the user, password, database and TLS of the one that was named.
    pub fn at(&self, (host, port): Address) -> Result<Client, RedisError> {
        let like = match &self.entry {
            Entry::Server(client) => client.get_connection_info(),
            Entry::Sentinel { like, .. } => like,
            Entry::Cluster { seeds } => seeds.first().ok_or_else(|| io_error("no node"))?.get_connection_info(),
        };
        let address = match like.addr().clone() {
            ConnectionAddr::TcpTls { insecure, tls_params, .. } => {
                ConnectionAddr::TcpTls { host, port, insecure, tls_params }
            }
            _ => ConnectionAddr::Tcp(host, port),
        };
        client(like.clone().set_addr(address))
    }

    /// The slot is there now.
    pub fn learn(&self, slot: u16, home: Address) {
        locked(&self.homes).insert(slot, home);
    }

    /// What was known of this slot may be wrong: where it was thought to be.
    pub fn forget(&self, slot: u16) -> Option<Address> {
        self.turn.fetch_add(1, Ordering::Relaxed);
        locked(&self.homes).remove(&slot)
    }

    /// Whether there are other nodes to be sent to.
    pub fn is_cluster(&self) -> bool {
        matches!(self.entry, Entry::Cluster { .. })
    }

    /// Asks one after the other until one answers.
    async fn first_answer<T, F>(&self, clients: &[Client], ask: impl Fn(Client) -> F) -> Result<T, RedisError>
    where
        F: Future<Output = Result<T, RedisError>>,
    {
        let mut last = io_error("nobody to ask");
        let first = self.turn.load(Ordering::Relaxed) % clients.len().max(1);
        for client in clients.iter().cycle().skip(first).take(clients.len()) {
            match ask(client.clone()).await {
                Ok(found) => return Ok(found),
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

/// Where a server listens; what is not reached by TCP has port 0.
pub(crate) fn address(client: &Client) -> Address {
    match client.get_connection_info().addr() {
        ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => (host.clone(), *port),
        other => (other.to_string(), 0),
    }
}

/// `host:port`; the host of an IPv6 address has colons too.
pub(crate) fn address_of(text: &str) -> Option<Address> {
    let (host, port) = text.rsplit_once(':')?;
    Some((host.to_owned(), port.parse().ok()?))
}

pub(crate) fn io_error(why: &'static str) -> RedisError {
    (ErrorKind::Io, why).into()
}

fn info(url: &str) -> Result<ConnectionInfo, RedisError> {
    url.into_connection_info()
}

fn client(info: ConnectionInfo) -> Result<Client, RedisError> {
    // RESP3, in which a server tells by itself that a hold has changed.
    let settings = info.redis_settings().clone().set_protocol(redis::ProtocolVersion::RESP3);
    let keepalive = TcpKeepalive::new().with_time(SILENCE).with_interval(QUESTION).with_retries(QUESTIONS);
    let tcp = TcpSettings::default().set_nodelay(true).set_keepalive(keepalive);
    Client::open(info.set_redis_settings(settings).set_tcp_settings(tcp))
}

fn clients<'a>(urls: impl IntoIterator<Item = &'a str>, none: &'static str) -> Result<Vec<Client>, Error> {
    let clients = urls.into_iter().map(|url| client(info(url)?)).collect::<Result<Vec<_>, _>>()?;
    if clients.is_empty() {
        Err(Error::Invalid(none))
    } else {
        Ok(clients)
    }
}

/// Whom this Sentinel calls the primary.
async fn primary(sentinel: Client, name: &str) -> Result<Address, RedisError> {
    let mut connection = sentinel.get_multiplexed_async_connection().await?;
    let mut question = redis::cmd("SENTINEL");
    question.arg("GET-MASTER-ADDR-BY-NAME").arg(name);
    let found: Option<Address> = question.query_async(&mut connection).await?;
    found.ok_or_else(|| io_error("the Sentinel does not know this primary"))
}

/// Slots, and who has them: the primary first.
struct Range {
    slots: RangeInclusive<u16>,
    nodes: Vec<Address>,
}

/// What this node of a cluster knows.
async fn ranges(node: Client) -> Result<Vec<Range>, RedisError> {
    let mut connection = node.get_multiplexed_async_connection().await?;
    let answer: Vec<Vec<Value>> = redis::cmd("CLUSTER").arg("SLOTS").query_async(&mut connection).await?;
    let (here, _) = address(&node);
    let ranges: Vec<Range> = answer.into_iter().filter_map(|range| range_of(range, &here)).collect();
    if ranges.is_empty() {
        return Err(io_error("this node knows no slots"));
    }
    Ok(ranges)
}

/// Out of an entry of CLUSTER SLOTS: from, to, primary, replicas. A node that does not know its own name sends none: then it
/// is where it was asked.
fn range_of(entry: Vec<Value>, here: &str) -> Option<Range> {
    let mut parts = entry.into_iter();
    let mut slot = || redis::from_redis_value::<u16>(parts.next()?).ok();
    let slots = slot()?..=slot()?;
    let nodes = parts.filter_map(|node| {
        let Value::Array(node) = node else { return None };
        let start = Value::Array(node.into_iter().take(2).collect());
        let (host, port) = redis::from_redis_value::<(Option<String>, u16)>(start).ok()?;
        Some((host.filter(|host| !host.is_empty()).unwrap_or_else(|| here.to_owned()), port))
    });
    Some(Range { slots, nodes: nodes.collect() })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_with_one_tag_have_one_slot() {
        for (key, part) in [("k", "k"), ("{a}b", "a"), ("x{a}{b}", "a"), ("{}a", "{}a"), ("{a", "{a"), ("a}{b}", "b")] {
            assert_eq!(hashed(key.as_bytes()), part.as_bytes(), "{key}");
        }
    }

    #[test]
    fn node_without_a_name_is_where_it_was_asked() {
        let text = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let node = |host, port| Value::Array(vec![host, Value::Int(port), text("id")]);
        let entry = vec![Value::Int(0), Value::Int(5), node(Value::Nil, 1), node(text(""), 2), node(text("there"), 3)];
        let range = range_of(entry, "here").unwrap();
        assert_eq!(range.slots, 0..=5);
        assert_eq!(range.nodes, [("here".into(), 1), ("here".into(), 2), ("there".into(), 3)]);
    }

    /// Only where it is changes: who asks, in which database, stays.
    #[test]
    fn server_that_was_found_is_asked_as_the_url_says() {
        let finder = Finder::sentinel(["redis://s"], "locks", "redis://user:secret@ignored/2").unwrap();
        let found = finder.at(("there".into(), 7)).unwrap();
        assert_eq!(address(&found), ("there".into(), 7));
        let settings = found.get_connection_info().redis_settings();
        assert_eq!((settings.username(), settings.password(), settings.db()), (Some("user"), Some("secret"), 2));
    }
}
