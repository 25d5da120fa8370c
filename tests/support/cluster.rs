//! A Redis Cluster of real servers on loopback.

use std::time::Duration;

use super::builder::ServerBuilder;
use super::server::Server;
use super::value::Value;
use super::{args, poll, until};

/// How many hash slots a cluster has.
const SLOTS: usize = 16384;
/// After how long without an answer a node counts as failing, in milliseconds. Much less, and a busy machine makes nodes
/// fail that are well.
const NODE_TIMEOUT_MS: u32 = 2000;

/// How long the nodes may take to agree on something, on a busy machine.
const AGREED: Duration = Duration::from_secs(60);

/// Primaries that share all slots evenly, and their replicas.
pub struct Cluster {
    nodes: Vec<Server>,
    ids: Vec<String>,
    primaries: usize,
}

impl Cluster {
    /// Starts that many primaries, each with so many replicas, and waits until all agree that the cluster works.
    #[track_caller]
    pub fn start(primaries: usize, replicas_each: usize) -> Cluster {
        Cluster::start_with(primaries, replicas_each, |settings| settings)
    }

    /// The same, with other settings for every node.
    #[track_caller]
    pub fn start_with(
        primaries: usize,
        replicas_each: usize,
        settings: impl Fn(ServerBuilder) -> ServerBuilder,
    ) -> Cluster {
        let nodes: Vec<Server> = (0..primaries * (1 + replicas_each))
            .map(|_| {
                let node = Server::builder()
                    .config("cluster-enabled yes")
                    .config(format!("cluster-node-timeout {NODE_TIMEOUT_MS}"))
                    .config("cluster-replica-validity-factor 0")
                    .config("repl-ping-replica-period 1");
                settings(node).start()
            })
            .collect();
        let ids = nodes.iter().map(|node| node.cmd(&["CLUSTER", "MYID"]).text().to_owned()).collect();
        let cluster = Cluster { nodes, ids, primaries };
        cluster.join();
        cluster
    }

    fn join(&self) {
        for (n, node) in self.nodes.iter().enumerate() {
            assert_eq!(node.cmd(&args!["CLUSTER", "SET-CONFIG-EPOCH", n + 1]), "OK");
            if n < self.primaries {
                let (from, to) = (n * SLOTS / self.primaries, (n + 1) * SLOTS / self.primaries - 1);
                assert_eq!(node.cmd(&args!["CLUSTER", "ADDSLOTSRANGE", from, to]), "OK");
            }
            if n > 0 {
                assert_eq!(self.node(0).cmd(&args!["CLUSTER", "MEET", "127.0.0.1", node.port()]), "OK");
            }
        }
        for (n, node) in self.nodes.iter().enumerate().skip(self.primaries) {
            let primary = self.id(n % self.primaries);
            until("a replica knows its primary", || node.cmd(&["CLUSTER", "REPLICATE", primary]) == "OK");
        }
        self.until_ok();
        for node in self.nodes.iter().skip(self.primaries) {
            until("a replica is in step", || node.info_field("replication", "master_link_status") == "up");
        }
    }

    /// A node. The first ones are those that started as primaries; node `primaries + n` started as a replica of node
    /// `n % primaries`.
    pub fn node(&self, n: usize) -> &Server {
        &self.nodes[n]
    }

    /// A node's id.
    pub fn id(&self, n: usize) -> &str {
        &self.ids[n]
    }

    /// Waits until every node that runs says that the cluster works.
    #[track_caller]
    pub fn until_ok(&self) {
        let running = || self.nodes.iter().filter(|node| node.is_alive());
        let is_ok = |node: &Server| node.cmd(&["CLUSTER", "INFO"]).text().contains("cluster_state:ok");
        let works = poll(AGREED, || running().all(is_ok).then_some(()));
        assert!(works.is_some(), "the cluster does not work after {AGREED:?}");
    }

    /// The slot of a key.
    pub fn slot(&self, key: &str) -> i64 {
        let running = self.nodes.iter().find(|node| node.is_alive()).expect("a node runs");
        running.cmd(&["CLUSTER", "KEYSLOT", key]).int()
    }

    /// Which of the first nodes had the key's slot at the start.
    pub fn first_home(&self, key: &str) -> usize {
        let slot = usize::try_from(self.slot(key)).unwrap();
        (0..self.primaries).find(|n| slot < (n + 1) * SLOTS / self.primaries).unwrap()
    }

    /// Begins to move the key's slot: clients are sent after keys that have gone already.
    #[track_caller]
    pub fn begin_move(&self, key: &str, from: usize, to: usize) {
        let slot = self.slot(key);
        assert_eq!(self.node(to).cmd(&args!["CLUSTER", "SETSLOT", slot, "IMPORTING", self.id(from)]), "OK");
        assert_eq!(self.node(from).cmd(&args!["CLUSTER", "SETSLOT", slot, "MIGRATING", self.id(to)]), "OK");
    }

    /// Moves a key (MIGRATE).
    #[track_caller]
    pub fn migrate(&self, key: &str, from: usize, to: usize) -> Value {
        self.node(from).cmd(&args!["MIGRATE", "127.0.0.1", self.node(to).port(), key, 0, 10_000])
    }

    /// Gives the key's slot to a node for good, and tells everybody.
    #[track_caller]
    pub fn end_move(&self, key: &str, from: usize, to: usize) {
        let slot = self.slot(key);
        for n in [to, from].into_iter().chain((0..self.primaries).filter(|n| *n != from && *n != to)) {
            assert_eq!(self.node(n).cmd(&args!["CLUSTER", "SETSLOT", slot, "NODE", self.id(to)]), "OK");
        }
    }

    /// Waits until a node that began as a replica is a primary.
    #[track_caller]
    pub fn until_promoted(&self, n: usize) {
        let promoted = poll(AGREED, || (self.node(n).info_field("replication", "role") == "master").then_some(()));
        assert!(promoted.is_some(), "node {n} was not promoted within {AGREED:?}");
    }
}
