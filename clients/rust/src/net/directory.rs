//! Finds the server that has a key: the one server, the primary that Sentinels name, or the node of a cluster.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt};
use futures_util::stream::{FuturesUnordered, StreamExt};
use redis::{ConnectionInfo, Value};
use tokio::time::{timeout, Instant};

use super::address::{address_of, Address};
use super::dial::{Dialer, Target};
use super::events::Events;
use super::node::Node;
use super::single_flight::SingleFlight;
use super::slots::{parse_slot_ranges, slot_of, SlotMap, SlotRange};
use crate::core::{trace, Core};
use crate::error::Failure;
use crate::sync::lock;

/// How long a Sentinel or a node may take to say where the locks are.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);
/// After how long without an answer the next one is asked too.
const STAGGER: Duration = Duration::from_millis(250);
/// The shortest time between two looks.
const LOOKUP_PAUSE: Duration = Duration::from_millis(250);

/// The kind of deployment, and the servers that the program named.
enum Kind {
    Server(Address),
    Sentinel { sentinels: Vec<Arc<Node>>, name: String },
    Cluster { seeds: Vec<Address> },
}

/// Where the locks of one deployment are.
pub(crate) struct Directory {
    core: Arc<Core>,
    kind: Kind,
    dialer: Dialer,
    nodes: Mutex<HashMap<Address, Arc<Node>>>,
    map: Mutex<SlotMap>,
    looking: SingleFlight<()>,
    /// When the last look was over.
    looked_at: Mutex<Option<Instant>>,
    /// Which Sentinel or node is asked first. It moves on with every look, because one that is cut off from the others
    /// keeps giving the same answer.
    first: AtomicUsize,
}

impl Directory {
    /// The one server of this description.
    pub fn server(core: &Arc<Core>, events: &Events, info: ConnectionInfo) -> Directory {
        let address = address_of(&info);
        Directory::new(core, Kind::Server(address), Target::Redis(Box::new(info)), events)
    }

    /// Locks in the memory of this process.
    #[cfg(feature = "memory")]
    pub fn memory(core: &Arc<Core>, events: &Events, server: crate::memory::Server) -> Directory {
        Directory::new(core, Kind::Server(("memory".to_owned(), 0)), Target::Memory(server), events)
    }

    /// The primary that these Sentinels know by this name. `primary` has its user, password, database and TLS.
    pub fn sentinel(
        core: &Arc<Core>,
        events: &Events,
        sentinels: Vec<ConnectionInfo>,
        name: &str,
        primary: ConnectionInfo,
    ) -> Directory {
        let sentinels = sentinels.into_iter().map(|info| {
            let address = address_of(&info);
            let target = Target::Redis(Box::new(info));
            Node::new(address, Dialer { core: Arc::clone(core), target, events: None })
        });
        let kind = Kind::Sentinel { sentinels: sentinels.collect(), name: name.to_owned() };
        Directory::new(core, kind, Target::Redis(Box::new(primary)), events)
    }

    /// The nodes of the cluster to which these nodes belong. `template` has their user, password and TLS.
    pub fn cluster(
        core: &Arc<Core>,
        events: &Events,
        seeds: Vec<ConnectionInfo>,
        template: ConnectionInfo,
    ) -> Directory {
        let seeds = seeds.iter().map(address_of).collect();
        Directory::new(core, Kind::Cluster { seeds }, Target::Redis(Box::new(template)), events)
    }

    fn new(core: &Arc<Core>, kind: Kind, target: Target, events: &Events) -> Directory {
        Directory {
            core: Arc::clone(core),
            kind,
            dialer: Dialer { core: Arc::clone(core), target, events: Some(events.clone()) },
            nodes: Mutex::default(),
            map: Mutex::default(),
            looking: SingleFlight::default(),
            looked_at: Mutex::default(),
            first: AtomicUsize::new(0),
        }
    }

    /// The slot of a key; 0 outside a cluster.
    pub fn slot(&self, key: &[u8]) -> u16 {
        if self.is_cluster() {
            slot_of(key)
        } else {
            0
        }
    }

    pub fn is_cluster(&self) -> bool {
        matches!(self.kind, Kind::Cluster { .. })
    }

    /// Whether another server can take the place of one that fails.
    pub fn can_move(&self) -> bool {
        !matches!(self.kind, Kind::Server(_))
    }

    /// The server that has the slot. Asks Sentinels or nodes if it is not known.
    pub async fn locate(self: &Arc<Self>, slot: u16) -> Result<Arc<Node>, Failure> {
        if let Kind::Server(address) = &self.kind {
            return Ok(self.node(address));
        }
        if let Some(address) = self.primary(slot) {
            return Ok(self.node(&address));
        }
        self.look().await?;
        let address = self.primary(slot).ok_or_else(|| Failure::Unsent("no node serves this slot".to_owned()))?;
        Ok(self.node(&address))
    }

    /// The server at this address. It is the same one for all who ask.
    pub fn node(&self, address: &Address) -> Arc<Node> {
        let mut nodes = lock(&self.nodes);
        let known = nodes.get(address).filter(|node| !node.is_abandoned()).cloned();
        known.unwrap_or_else(|| {
            let node = Node::new(address.clone(), self.dialer.clone());
            nodes.insert(address.clone(), Arc::clone(&node));
            node
        })
    }

    /// Every primary, after a look if none is known.
    pub async fn primaries(self: &Arc<Self>) -> Result<Vec<Arc<Node>>, Failure> {
        if let Kind::Server(address) = &self.kind {
            return Ok(vec![self.node(address)]);
        }
        if lock(&self.map).primaries().is_empty() {
            self.look().await?;
        }
        let primaries = lock(&self.map).primaries();
        Ok(primaries.iter().map(|address| self.node(address)).collect())
    }

    /// Remembers that the node at this address has the slot now.
    pub fn record_move(&self, slot: u16, address: Address) {
        lock(&self.map).record_move(slot, address);
    }

    /// Whether this server is still a primary, as far as is known.
    pub fn has_primary(&self, address: &Address) -> bool {
        !self.can_move() || lock(&self.map).primaries().contains(address)
    }

    /// Leaves a server in whose place there is another one now. Everything that waits there goes on at the other one.
    pub fn abandon(&self, node: &Arc<Node>) {
        trace!(WARN, server = %super::dial::shown(&node.address), "another server has taken the place of this one");
        lock(&self.nodes).retain(|_, known| !Arc::ptr_eq(known, node));
        node.abandon();
    }

    /// Asks again where the locks are, once for all who wait for the answer, and not more often than four times a
    /// second.
    pub async fn look(self: &Arc<Self>) -> Result<(), Failure> {
        if !self.can_move() {
            return Ok(());
        }
        let directory = Arc::clone(self);
        self.looking.join(|| async move { directory.look_now().await }).await
    }

    async fn look_now(self: Arc<Self>) -> Result<(), Failure> {
        let looked_at = *lock(&self.looked_at);
        if let Some(looked_at) = looked_at {
            let pause = LOOKUP_PAUSE.saturating_sub(looked_at.elapsed());
            tokio::time::sleep(pause + self.core.chance.up_to(pause)).await;
        }
        self.core.counters.lookups.add_one();
        let found = match &self.kind {
            Kind::Server(_) => Ok(()),
            Kind::Sentinel { sentinels, name } => self.ask_sentinels(sentinels, name).await,
            Kind::Cluster { seeds } => self.ask_nodes(seeds).await,
        };
        *lock(&self.looked_at) = Some(Instant::now());
        found
    }

    async fn ask_sentinels(&self, sentinels: &[Arc<Node>], name: &str) -> Result<(), Failure> {
        let asked = sentinels.iter().map(|sentinel| ask_sentinel(Arc::clone(sentinel), name.to_owned()).boxed());
        let address = self.first_answer(asked.collect()).await?;
        *lock(&self.map) = SlotMap::new(vec![SlotRange { slots: 0..=0, nodes: vec![address] }]);
        Ok(())
    }

    async fn ask_nodes(&self, seeds: &[Address]) -> Result<(), Failure> {
        let mut addresses = seeds.to_vec();
        let known = lock(&self.map).nodes();
        addresses.extend(known.into_iter().filter(|address| !seeds.contains(address)));
        let asked = addresses.iter().map(|address| ask_node(self.node(address)).boxed());
        let map = SlotMap::new(self.first_answer(asked.collect()).await?);
        // A node that is known by another address, or that has left the cluster, needs no connection.
        let members = map.nodes();
        lock(&self.nodes).retain(|address, _| members.contains(address));
        *lock(&self.map) = map;
        Ok(())
    }

    /// Asks one after the other without waiting long for any, and returns the first answer.
    async fn first_answer<T>(&self, mut asked: Vec<BoxFuture<'_, Result<T, Failure>>>) -> Result<T, Failure> {
        let count = asked.len().max(1);
        let first = self.first.fetch_add(1, Ordering::Relaxed) % count;
        if first < asked.len() {
            asked.rotate_left(first);
        }
        let mut left = asked.into_iter();
        let mut pending: FuturesUnordered<_> = left.next().into_iter().collect();
        let mut last = Failure::Unsent("no server to ask".to_owned());
        loop {
            tokio::select! {
                biased;
                answer = pending.next(), if !pending.is_empty() => match answer {
                    Some(Ok(answer)) => return Ok(answer),
                    Some(Err(failure)) => last = failure,
                    None => {}
                },
                () = tokio::time::sleep(STAGGER), if left.len() > 0 && !pending.is_empty() => {
                    pending.extend(left.next());
                    continue;
                }
                else => {}
            }
            if pending.is_empty() {
                match left.next() {
                    Some(next) => pending.push(next),
                    None => return Err(last),
                }
            }
        }
    }

    fn primary(&self, slot: u16) -> Option<Address> {
        lock(&self.map).primary(slot)
    }
}

/// Asks a Sentinel for the address of the primary.
async fn ask_sentinel(sentinel: Arc<Node>, name: String) -> Result<Address, Failure> {
    let mut cmd = redis::cmd("SENTINEL");
    cmd.arg("GET-MASTER-ADDR-BY-NAME").arg(&name);
    let reply = ask(&sentinel, &cmd).await?;
    let address = redis::from_redis_value::<Option<Address>>(reply).ok().flatten();
    address.ok_or_else(|| Failure::Unsent(format!("the Sentinels know no primary {name}")))
}

/// Asks a node of a cluster which nodes have which slots.
async fn ask_node(node: Arc<Node>) -> Result<Vec<SlotRange>, Failure> {
    let mut cmd = redis::cmd("CLUSTER");
    cmd.arg("SLOTS");
    let ranges = parse_slot_ranges(ask(&node, &cmd).await?, &node.address.0);
    if ranges.is_empty() {
        return Err(Failure::Unsent("this node knows no slots".to_owned()));
    }
    Ok(ranges)
}

/// Sends a command on the shared connection of a server, and waits a second for the reply.
async fn ask(node: &Arc<Node>, cmd: &redis::Cmd) -> Result<Value, Failure> {
    let asked = async { node.shared_at_once().await?.send(cmd).await };
    let silence = || Failure::Unsent(format!("no answer from {} in time", super::dial::shown(&node.address)));
    timeout(ANSWER_TIMEOUT, asked).await.map_err(|_| silence())?
}
