//! Finds the server that has a key: the one server, the primary that Sentinels name, or the node of a cluster.

use std::collections::HashMap;
use std::future::Future;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Mutex;
use std::time::Duration;

use redis::io::tcp::{socket2::TcpKeepalive, TcpSettings};
use redis::{Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisError, Value};

use crate::error::{io_error, Error};
use crate::sync::lock;

/// TCP keepalive: after 10 s of silence three probes are sent, 5 s apart. Without it a wait that has no time limit
/// would wait forever for a server that vanished without closing its connections.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(10);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVE_PROBES: u32 = 3;
/// The number of slots of a Redis Cluster.
const SLOTS: u16 = 16384;

/// Host and port.
pub(crate) type Address = (String, u16);

/// The kind of deployment, and the servers that the program named.
enum Topology {
    Server(Client),
    Sentinel {
        sentinels: Vec<Client>,
        /// The name under which the Sentinels know the primary.
        name: String,
        /// User, password, database and TLS of the primary. Its host and port are ignored.
        primary: ConnectionInfo,
    },
    Cluster {
        seeds: Vec<Client>,
    },
}

/// Finds the server of each slot, and remembers it. A deployment that is not a cluster has only slot 0.
pub(crate) struct Discovery {
    topology: Topology,
    /// The last known server of each slot.
    slot_addresses: Mutex<HashMap<u16, Address>>,
    /// The nodes of a cluster that other nodes have reported. They can answer when the seeds are gone.
    reported_nodes: Mutex<Vec<Address>>,
    /// Which Sentinel or node is asked first. It moves on whenever an answer was wrong, because one that is cut off
    /// from the others keeps giving that answer.
    first: AtomicUsize,
}

impl Discovery {
    /// Finds the one server of this URL.
    pub fn server(url: &str) -> Result<Discovery, Error> {
        Ok(Discovery::new(Topology::Server(open(parse_url(url)?)?)))
    }

    /// Finds the primary that these Sentinels know by this name. `primary` is a URL that gives its user, password,
    /// database and TLS.
    pub fn sentinel<'a>(
        urls: impl IntoIterator<Item = &'a str>,
        name: &str,
        primary: &str,
    ) -> Result<Discovery, Error> {
        let sentinels = open_all(urls, "a Sentinel must be named")?;
        Ok(Discovery::new(Topology::Sentinel { sentinels, name: name.to_owned(), primary: parse_url(primary)? }))
    }

    /// Finds the nodes of the cluster to which these nodes belong.
    pub fn cluster<'a>(urls: impl IntoIterator<Item = &'a str>) -> Result<Discovery, Error> {
        Ok(Discovery::new(Topology::Cluster { seeds: open_all(urls, "a node of the cluster must be named")? }))
    }

    fn new(topology: Topology) -> Discovery {
        Discovery {
            topology,
            slot_addresses: Mutex::default(),
            reported_nodes: Mutex::default(),
            first: AtomicUsize::new(0),
        }
    }

    /// The address of the one server; `None` for Sentinel and Cluster.
    pub fn server_address(&self) -> Option<Address> {
        match &self.topology {
            Topology::Server(client) => Some(client_address(client)),
            Topology::Sentinel { .. } | Topology::Cluster { .. } => None,
        }
    }

    /// The slot of a key; 0 outside a cluster.
    pub fn slot(&self, key: &[u8]) -> u16 {
        match self.topology {
            Topology::Server(_) | Topology::Sentinel { .. } => 0,
            Topology::Cluster { .. } => crc16::State::<crc16::XMODEM>::calculate(hashed_part(key)) % SLOTS,
        }
    }

    /// The server that has the slot. Asks Sentinels or nodes if it is not known.
    pub async fn locate(&self, slot: u16) -> Result<Client, RedisError> {
        let known = lock(&self.slot_addresses).get(&slot).cloned();
        match (&self.topology, known) {
            (Topology::Server(client), _) => Ok(client.clone()),
            (_, Some(address)) => self.open_client(address),
            (Topology::Sentinel { sentinels, name, .. }, None) => {
                let address = self.first_reply(sentinels, |client| query_primary(client, name)).await?;
                lock(&self.slot_addresses).insert(slot, address.clone());
                self.open_client(address)
            }
            (Topology::Cluster { seeds }, None) => {
                let reported = lock(&self.reported_nodes).clone();
                let reported = reported.into_iter().filter_map(|address| self.open_client(address).ok());
                let nodes: Vec<Client> = seeds.iter().cloned().chain(reported).collect();
                let ranges = self.first_reply(&nodes, query_slot_ranges).await?;
                let range = ranges.iter().find(|range| range.slots.contains(&slot));
                let primary = range.and_then(|range| range.nodes.first()).cloned();
                let primary = primary.ok_or_else(|| io_error("no node serves this slot"))?;
                *lock(&self.reported_nodes) = ranges.into_iter().flat_map(|range| range.nodes).collect();
                lock(&self.slot_addresses).insert(slot, primary.clone());
                self.open_client(primary)
            }
        }
    }

    /// The server at this address, with the user, password, database and TLS that the program named.
    pub fn open_client(&self, (host, port): Address) -> Result<Client, RedisError> {
        let template = match &self.topology {
            Topology::Server(client) => client.get_connection_info(),
            Topology::Sentinel { primary, .. } => primary,
            Topology::Cluster { seeds } => seeds.first().ok_or_else(|| io_error("no node"))?.get_connection_info(),
        };
        let address = match template.addr().clone() {
            ConnectionAddr::TcpTls { insecure, tls_params, .. } => {
                ConnectionAddr::TcpTls { host, port, insecure, tls_params }
            }
            _ => ConnectionAddr::Tcp(host, port),
        };
        open(template.clone().set_addr(address))
    }

    /// Remembers that the server at this address has the slot now.
    pub fn record_move(&self, slot: u16, address: Address) {
        lock(&self.slot_addresses).insert(slot, address);
    }

    /// Forgets the server of this slot, which may be wrong. Returns its address if it was known.
    pub fn forget(&self, slot: u16) -> Option<Address> {
        self.first.fetch_add(1, Ordering::Relaxed);
        lock(&self.slot_addresses).remove(&slot)
    }

    /// Whether redirections to other nodes are followed.
    pub fn is_cluster(&self) -> bool {
        matches!(self.topology, Topology::Cluster { .. })
    }

    /// Asks one server after the other, and returns the first reply.
    async fn first_reply<T, F>(&self, clients: &[Client], query: impl Fn(Client) -> F) -> Result<T, RedisError>
    where
        F: Future<Output = Result<T, RedisError>>,
    {
        let mut last_error = io_error("no server to ask");
        let first = self.first.load(Ordering::Relaxed) % clients.len().max(1);
        for client in clients.iter().cycle().skip(first).take(clients.len()) {
            match query(client.clone()).await {
                Ok(reply) => return Ok(reply),
                Err(error) => last_error = error,
            }
        }
        Err(last_error)
    }
}

/// Host and port of a server. A server that is not reached over TCP has its description as host, and port 0.
pub(crate) fn client_address(client: &Client) -> Address {
    match client.get_connection_info().addr() {
        ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => (host.clone(), *port),
        other => (other.to_string(), 0),
    }
}

/// Reads `host:port`. The host may be an IPv6 address, which contains colons.
pub(crate) fn parse_address(text: &str) -> Option<Address> {
    let (host, port) = text.rsplit_once(':')?;
    Some((host.to_owned(), port.parse().ok()?))
}

fn parse_url(url: &str) -> Result<ConnectionInfo, RedisError> {
    url.into_connection_info()
}

/// A client with the settings that this crate needs. It does not connect yet.
fn open(info: ConnectionInfo) -> Result<Client, RedisError> {
    // Invalidation messages need RESP3.
    let settings = info.redis_settings().clone().set_protocol(redis::ProtocolVersion::RESP3);
    let keepalive =
        TcpKeepalive::new().with_time(KEEPALIVE_IDLE).with_interval(KEEPALIVE_INTERVAL).with_retries(KEEPALIVE_PROBES);
    let tcp = TcpSettings::default().set_nodelay(true).set_keepalive(keepalive);
    Client::open(info.set_redis_settings(settings).set_tcp_settings(tcp))
}

/// A client for each URL. `if_empty` is the error text if there is none.
fn open_all<'a>(urls: impl IntoIterator<Item = &'a str>, if_empty: &'static str) -> Result<Vec<Client>, Error> {
    let clients = urls.into_iter().map(|url| open(parse_url(url)?)).collect::<Result<Vec<_>, _>>()?;
    if clients.is_empty() {
        Err(Error::Invalid(if_empty))
    } else {
        Ok(clients)
    }
}

/// Asks a Sentinel for the address of the primary.
async fn query_primary(sentinel: Client, name: &str) -> Result<Address, RedisError> {
    let mut connection = sentinel.get_multiplexed_async_connection().await?;
    let mut cmd = redis::cmd("SENTINEL");
    cmd.arg("GET-MASTER-ADDR-BY-NAME").arg(name);
    let address: Option<Address> = cmd.query_async(&mut connection).await?;
    address.ok_or_else(|| io_error("the Sentinel does not know this primary"))
}

/// A range of slots and the nodes that have it, the primary first.
struct SlotRange {
    slots: RangeInclusive<u16>,
    nodes: Vec<Address>,
}

/// Asks a node of a cluster which nodes have which slots.
async fn query_slot_ranges(node: Client) -> Result<Vec<SlotRange>, RedisError> {
    let mut connection = node.get_multiplexed_async_connection().await?;
    let reply: Vec<Vec<Value>> = redis::cmd("CLUSTER").arg("SLOTS").query_async(&mut connection).await?;
    let (host, _) = client_address(&node);
    let ranges: Vec<SlotRange> = reply.into_iter().filter_map(|range| parse_slot_range(range, &host)).collect();
    if ranges.is_empty() {
        return Err(io_error("this node knows no slots"));
    }
    Ok(ranges)
}

/// Reads one range of the reply to CLUSTER SLOTS: first slot, last slot, primary, replicas. A node that does not know
/// its own host name sends none, and then has the host that was asked.
fn parse_slot_range(range: Vec<Value>, asked_host: &str) -> Option<SlotRange> {
    let mut parts = range.into_iter();
    let mut slot = || redis::from_redis_value::<u16>(parts.next()?).ok();
    let slots = slot()?..=slot()?;
    let nodes = parts.filter_map(|node| {
        let Value::Array(node) = node else { return None };
        let start = Value::Array(node.into_iter().take(2).collect());
        let (host, port) = redis::from_redis_value::<(Option<String>, u16)>(start).ok()?;
        Some((host.filter(|host| !host.is_empty()).unwrap_or_else(|| asked_host.to_owned()), port))
    });
    Some(SlotRange { slots, nodes: nodes.collect() })
}

/// The part of a key that decides its slot: the text in its first pair of braces, or the whole key if that is empty.
fn hashed_part(key: &[u8]) -> &[u8] {
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
    fn keys_with_the_same_hash_tag_have_the_same_slot() {
        for (key, part) in [("k", "k"), ("{a}b", "a"), ("x{a}{b}", "a"), ("{}a", "{}a"), ("{a", "{a"), ("a}{b}", "b")] {
            assert_eq!(hashed_part(key.as_bytes()), part.as_bytes(), "{key}");
        }
    }

    #[test]
    fn node_that_sends_no_host_has_the_host_that_was_asked() {
        let text = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let node = |host, port| Value::Array(vec![host, Value::Int(port), text("id")]);
        let entry = vec![Value::Int(0), Value::Int(5), node(Value::Nil, 1), node(text(""), 2), node(text("there"), 3)];
        let range = parse_slot_range(entry, "here").unwrap();
        assert_eq!(range.slots, 0..=5);
        assert_eq!(range.nodes, [("here".into(), 1), ("here".into(), 2), ("there".into(), 3)]);
    }

    #[test]
    fn primary_keeps_the_user_password_and_database_of_its_url() {
        let discovery = Discovery::sentinel(["redis://s"], "locks", "redis://user:secret@ignored/2").unwrap();
        let client = discovery.open_client(("there".into(), 7)).unwrap();
        assert_eq!(client_address(&client), ("there".into(), 7));
        let settings = client.get_connection_info().redis_settings();
        assert_eq!((settings.username(), settings.password(), settings.db()), (Some("user"), Some("secret"), 2));
    }
}
