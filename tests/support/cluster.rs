//! A Redis Cluster of real servers on loopback.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::builder::ServerBuilder;
use super::inspect::Version;
use super::network::Link;
use super::server::Server;
use super::skip::skip;
use super::value::Value;
use super::{args, poll, until};

/// How many hash slots a cluster has.
const SLOTS: usize = 16384;
/// After how long without an answer a node counts as failing, in milliseconds. Much less, and a busy machine makes nodes
/// fail that are well.
const NODE_TIMEOUT_MS: u32 = 2000;

/// After how long a manual failover is given up.
const MANUAL: Duration = Duration::from_secs(5);

/// How long Redis counts the votes of an election, and until when a replica begins no other one: four times the
/// node's time-out.
const VOTES_COUNT: Duration = Duration::from_millis(4 * NODE_TIMEOUT_MS as u64);

/// How long a key takes on its way when moves are held up, in microseconds.
const KEY_US: u32 = 30_000;

/// After how long a move of whole slots is asked for again.
const GIVEN_UP: Duration = Duration::from_secs(5);

/// How far the port of a node's bus lies above its own.
const BUS: u16 = 10_000;

/// How long the nodes may take to agree on something, on a busy machine.
const AGREED: Duration = Duration::from_secs(60);

/// Primaries that share all slots evenly, and their replicas.
pub struct Cluster {
    nodes: Vec<Server>,
    ids: Vec<String>,
    primaries: usize,
    /// Before the bus of each node, and before what else others have of it: empty if nothing is to be cut.
    links: Vec<(Link, Link)>,
    /// When a node was promoted by [`Cluster::fail_over_by_hand`].
    promoted: Mutex<HashMap<usize, Instant>>,
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
        Cluster::start_each(primaries, replicas_each, |_, node| settings(node), Vec::new())
    }

    /// A cluster whose nodes can be cut off from one another (see [`Cluster::cut_off`]). Others reach a node by
    /// [`Cluster::seen_at`]; clients of its own port are on its side.
    #[track_caller]
    pub fn start_with_links(primaries: usize, replicas_each: usize) -> Cluster {
        let links: Vec<_> = (0..primaries * (1 + replicas_each)).map(|_| (Link::new(), Link::new())).collect();
        let announced: Vec<_> = links.iter().map(|(bus, data)| (bus.port(), data.port())).collect();
        let settings = |n: usize, node: ServerBuilder| {
            let (bus, data) = announced[n];
            node.config(format!("cluster-announce-bus-port {bus}")).config(format!("cluster-announce-port {data}"))
        };
        Cluster::start_each(primaries, replicas_each, settings, links)
    }

    fn start_each(
        primaries: usize,
        replicas_each: usize,
        settings: impl Fn(usize, ServerBuilder) -> ServerBuilder,
        links: Vec<(Link, Link)>,
    ) -> Cluster {
        let nodes: Vec<Server> = (0..primaries * (1 + replicas_each))
            .map(|n| {
                let node = Server::builder()
                    .config("cluster-enabled yes")
                    .config(format!("cluster-node-timeout {NODE_TIMEOUT_MS}"))
                    .config("cluster-replica-validity-factor 0")
                    .config("repl-ping-replica-period 1");
                settings(n, node).start()
            })
            .collect();
        let ids = nodes.iter().map(|node| node.cmd(&["CLUSTER", "MYID"]).text().to_owned()).collect();
        for ((bus, data), node) in links.iter().zip(&nodes) {
            bus.lead_to(node.port() + BUS);
            data.lead_to(node.port());
        }
        let cluster = Cluster { nodes, ids, primaries, links, promoted: Mutex::default() };
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
                let bus = self.links.get(n).map_or(node.port() + BUS, |(bus, _)| bus.port());
                let meet = args!["CLUSTER", "MEET", "127.0.0.1", self.seen_at(n), bus];
                assert_eq!(self.node(0).cmd(&meet), "OK");
            }
        }
        for (n, node) in self.nodes.iter().enumerate().skip(self.primaries) {
            let primary = self.id(n % self.primaries);
            until("a replica knows its primary", || node.cmd(&["CLUSTER", "REPLICATE", primary]) == "OK");
        }
        self.until_ok();
        for node in &self.nodes {
            let replicas = || node.cmd(&["CLUSTER", "NODES"]).text().matches("slave ").count();
            until("a node knows all replicas", || replicas() == self.nodes.len() - self.primaries);
        }
        for node in self.nodes.iter().skip(self.primaries) {
            until("a replica is in step", || node.info_field("replication", "master_link_status") == "up");
        }
        self.save_shards();
    }

    /// Waits until all nodes know which nodes form a shard, and saves that. A node of Valkey 8.0 or 8.1 that is killed before
    /// may not start again: it finds a replica whose shard is not its primary's in its own file (valkey-io/valkey#774, #2171).
    fn save_shards(&self) {
        let is_whole = |shard: &Value| shard.get("nodes").array().len() == self.nodes.len() / self.primaries;
        for node in &self.nodes {
            until("a node knows all shards", || {
                let shards = node.cmd(&["CLUSTER", "SHARDS"]);
                shards.array().len() == self.primaries && shards.array().iter().all(is_whole)
            });
            assert_eq!(node.cmd(&["CLUSTER", "SAVECONFIG"]), "OK");
        }
    }

    /// A node. The first ones are those that started as primaries; node `primaries + n` started as a replica of node
    /// `n % primaries`.
    pub fn node(&self, n: usize) -> &Server {
        &self.nodes[n]
    }

    /// The port by which other nodes, and clients on their side, reach a node.
    pub fn seen_at(&self, n: usize) -> u16 {
        self.links.get(n).map_or(self.node(n).port(), |(_, data)| data.port())
    }

    /// From now on this node and the others hear nothing of one another.
    pub fn cut_off(&self, n: usize) {
        for (m, (bus, data)) in self.links.iter().enumerate() {
            if m == n {
                bus.cut();
                data.cut();
            } else {
                bus.cut_from(self.id(n));
            }
        }
    }

    /// All is well again.
    pub fn mend(&self) {
        self.links.iter().for_each(|(bus, data)| [bus, data].into_iter().for_each(Link::mend));
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
        self.set_slot(to, &args!["CLUSTER", "SETSLOT", slot, "IMPORTING", self.id(from)]);
        self.set_slot(from, &args!["CLUSTER", "SETSLOT", slot, "MIGRATING", self.id(to)]);
    }

    /// Sends CLUSTER SETSLOT to a node until it says OK. From 8.0 on Valkey replicates the command first, and refuses it
    /// while the node's replica is not connected, as after a restart.
    #[track_caller]
    fn set_slot(&self, n: usize, command: &[Vec<u8>]) {
        until(format_args!("node {n} sets the slot"), || match self.node(n).cmd(command) {
            Value::Error(text) if text.starts_with("NOREPLICAS ") => false,
            reply => {
                assert_eq!(reply, "OK");
                true
            }
        });
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
        let is_primary = |n: &usize| self.node(*n).info_field("replication", "role") == "master";
        let others = (0..self.nodes.len()).filter(|n| *n != from && *n != to).filter(is_primary);
        for n in [to, from].into_iter().chain(others) {
            self.set_slot(n, &args!["CLUSTER", "SETSLOT", slot, "NODE", self.id(to)]);
        }
    }

    /// Waits until every node knows the configuration epochs of all. One that takes a slot over before it has heard of the
    /// last owner's epoch does not rise above it, and loses the slot again.
    #[track_caller]
    pub fn until_epochs_agree(&self) {
        let epochs = |node: &Server| {
            let nodes = node.cmd(&["CLUSTER", "NODES"]).text();
            let epoch =
                |line: &str| line.split(' ').next().map(str::to_owned).zip(line.split(' ').nth(6).map(str::to_owned));
            let mut epochs: Vec<_> = nodes.lines().filter_map(epoch).collect();
            epochs.sort();
            epochs
        };
        let running = || self.nodes.iter().filter(|node| node.is_alive());
        let agree = || running().next().is_some_and(|first| running().all(|node| epochs(node) == epochs(first)));
        assert!(poll(AGREED, || agree().then_some(())).is_some(), "the epochs differ after {AGREED:?}");
    }

    /// Waits until every other node, replicas among them, sends clients of this key to that node. A replica that is promoted
    /// before it has heard of a move takes the slot back.
    #[track_caller]
    pub fn until_all_send_to(&self, n: usize, key: &str) {
        let home = format!(":{}", self.seen_at(n));
        let sends =
            |node: &Server| matches!(node.cmd(&["LOCK.INFO", key]), Value::Error(text) if text.ends_with(&home));
        let others = || self.nodes.iter().enumerate().filter(|(other, node)| *other != n && node.is_alive());
        let know = poll(AGREED, || others().all(|(_, node)| sends(node)).then_some(()));
        assert!(know.is_some(), "some node does not know that {key} is at node {n} after {AGREED:?}");
    }

    /// Moves the key's slot with all that is in it, while clients go on.
    #[track_caller]
    pub fn move_slot(&self, key: &str, from: usize, to: usize) {
        self.begin_move(key, from, to);
        let slot = self.slot(key);
        loop {
            let keys = self.node(from).cmd(&args!["CLUSTER", "GETKEYSINSLOT", slot, 100]);
            if keys.array().is_empty() {
                break;
            }
            let mut migrate = args!["MIGRATE", "127.0.0.1", self.node(to).port(), "", 0, 10_000, "KEYS"].to_vec();
            migrate.extend(keys.array().iter().map(|key| key.text().into_bytes()));
            let moved = self.node(from).cmd(&migrate);
            // Those that were released in between need not go.
            assert!(moved == "OK" || moved == "NOKEY", "{moved:?}");
        }
        self.end_move(key, from, to);
    }

    /// Moves the key's slot whole, as Valkey 9 and Redis 8.4 can, and waits until both nodes know.
    #[track_caller]
    pub fn move_slot_at_once(&self, key: &str, from: usize, to: usize) {
        let slot = u16::try_from(self.slot(key)).unwrap();
        self.move_slots_at_once(slot..=slot, from, to);
    }

    /// The same with several slots.
    #[track_caller]
    pub fn move_slots_at_once(&self, slots: RangeInclusive<u16>, from: usize, to: usize) {
        self.begin_move_at_once(slots.clone(), from, to);
        // A server gives a move up that takes it too long, on a busy machine; one that goes on is not begun twice.
        let moved = poll(AGREED, || {
            let moved = poll(GIVEN_UP, || self.have_moved(&slots, from, to).then_some(()));
            if moved.is_none() {
                self.ask_to_move_at_once(&slots, from, to);
            }
            moved
        });
        assert!(moved.is_some(), "slots {slots:?} did not move within {AGREED:?}");
    }

    /// Waits until both nodes know that these slots moved.
    #[track_caller]
    pub fn until_moved(&self, slots: RangeInclusive<u16>, from: usize, to: usize) {
        let moved = poll(AGREED, || self.have_moved(&slots, from, to).then_some(()));
        assert!(moved.is_some(), "slots {slots:?} did not move within {AGREED:?}");
    }

    /// Whether both nodes know that.
    fn have_moved(&self, slots: &RangeInclusive<u16>, from: usize, to: usize) -> bool {
        let keys = [*slots.start(), *slots.end()].map(key_in_slot);
        let is_sent_on = |n: usize, key: &str| matches!(self.node(n).cmd(&["LOCK.INFO", key]), Value::Error(_));
        keys.iter().all(|key| is_sent_on(from, key) && !is_sent_on(to, key))
    }

    /// Begins to move these slots whole.
    #[track_caller]
    pub fn begin_move_at_once(&self, slots: RangeInclusive<u16>, from: usize, to: usize) {
        // A node refuses it until it knows who has the slots, and while another move is not over.
        until("the move has begun", || !self.ask_to_move_at_once(&slots, from, to).is_err());
    }

    /// The answer of the node that is to begin.
    fn ask_to_move_at_once(&self, slots: &RangeInclusive<u16>, from: usize, to: usize) -> Value {
        let (first, last) = (slots.start(), slots.end());
        match self.node(from).version().valkey {
            true => {
                let place = self.id(to);
                self.node(from).cmd(&args!["CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", first, last, "NODE", place])
            }
            false => self.node(to).cmd(&args!["CLUSTER", "MIGRATION", "IMPORT", first, last]),
        }
    }

    /// Keeps the moves from node `from` that begin now from their end, for a while at least, or lets them go on.
    #[track_caller]
    pub fn hold_moves_up(&self, from: usize, hold_up: bool) {
        let node = self.node(from);
        let done = match node.version().valkey {
            true => node.cmd(&["DEBUG", "SLOTMIGRATION", "PREVENT-PAUSE", if hold_up { "1" } else { "0" }]),
            false => node.cmd(&args!["CONFIG", "SET", "rdb-key-save-delay", if hold_up { KEY_US } else { 0 }]),
        };
        assert_eq!(done, "OK");
    }

    /// Gives all such moves up that node `to` waits for from node `from`.
    #[track_caller]
    pub fn give_moves_up(&self, from: usize, to: usize) {
        let given_up = match self.node(from).version().valkey {
            true => self.node(from).cmd(&["CLUSTER", "CANCELSLOTMIGRATIONS"]),
            false => self.node(to).cmd(&["CLUSTER", "MIGRATION", "CANCEL", "ALL"]),
        };
        assert!(!matches!(given_up, Value::Error(_)), "{given_up:?}");
    }

    /// Whether slots can move whole here. The test that asks returns if not: its skip is said already.
    pub fn moves_slots_at_once(&self) -> bool {
        let Version { valkey, number: (major, minor, _) } = self.node(0).version();
        let moves = if valkey { major >= 9 } else { (major, minor) >= (8, 4) };
        if !moves {
            skip("this server does not move slots whole");
        }
        moves
    }

    /// The ports of all nodes.
    pub fn ports(&self) -> Vec<u16> {
        self.nodes.iter().map(Server::port).collect()
    }

    /// Waits until a node that began as a replica is a primary.
    #[track_caller]
    pub fn until_promoted(&self, n: usize) {
        let promoted = poll(AGREED, || (self.node(n).info_field("replication", "role") == "master").then_some(()));
        assert!(promoted.is_some(), "node {n} was not promoted within {AGREED:?}");
    }

    /// Waits until node `n` replicates from node `of` and is in step.
    #[track_caller]
    pub fn until_replica_of(&self, n: usize, of: usize) {
        let port = self.seen_at(of).to_string();
        let in_step = poll(AGREED, || {
            let info = self.node(n).info("replication");
            let is = |field: &str, value: &str| info.get(field).is_some_and(|found| found == value);
            (is("master_port", &port) && is("master_link_status", "up")).then_some(())
        });
        assert!(in_step.is_some(), "node {n} does not replicate from node {of} after {AGREED:?}");
    }

    /// Has node `to` take the place of its primary `from`, with all its data, and waits until all is done.
    ///
    /// A node that was elected before is asked only when the votes of then no longer count. Redis would take them for those of
    /// the next election: the node would promote itself at once, under its old epoch, and be a replica again a moment later,
    /// when it hears of the newer one. All that it was told meanwhile would be lost.
    #[track_caller]
    pub fn fail_over_by_hand(&self, from: usize, to: usize) {
        if let Some(before) = self.promoted.lock().unwrap().get(&to) {
            std::thread::sleep(VOTES_COUNT.saturating_sub(before.elapsed()));
        }
        // One that is given up after 5 s, on a busy machine, is asked for again.
        let promoted = poll(AGREED, || {
            let asked = self.node(to).cmd(&["CLUSTER", "FAILOVER"]);
            assert!(asked == "OK" || matches!(asked, Value::Error(_)), "{asked:?}");
            // Not times the patience: the server itself gives up by then.
            let begun = Instant::now();
            let is_promoted = || self.node(to).info_field("replication", "role") == "master";
            while !is_promoted() && begun.elapsed() < MANUAL {
                std::thread::sleep(crate::PAUSE);
            }
            is_promoted().then_some(())
        });
        assert!(promoted.is_some(), "node {to} was not promoted within {AGREED:?}");
        self.promoted.lock().unwrap().insert(to, Instant::now());
        self.until_replica_of(from, to);
    }
}

/// A hash tag in this slot: a key that consists of it, or bears it, is there.
pub fn key_in_slot(slot: u16) -> String {
    (0u32..)
        .map(|n| format!("{{{n}}}"))
        .find(|tag| slot_of(&tag[1..tag.len() - 1]) == slot)
        .expect("a tag for every slot")
}

/// CRC16 as clusters reckon it.
fn slot_of(tag: &str) -> u16 {
    let step = |crc: u16| if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ 0x1021 };
    let crc = tag.bytes().fold(0, |crc, byte| (0..8).fold(crc ^ u16::from(byte) << 8, |crc, _| step(crc)));
    crc % SLOTS as u16
}
