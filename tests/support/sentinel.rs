//! A primary, its replicas, and the Sentinels that watch them: real processes on loopback.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::builder::ServerBuilder;
use super::client::Client;
use super::network::Link;
use super::server::Server;
use super::value::Value;
use super::{args, poll, until};

/// The name the Sentinels know the primary by.
pub const PRIMARY: &str = "locks";
/// After how long without an answer a Sentinel calls a server down, in milliseconds.
const DOWN_AFTER_MS: u32 = 2000;

/// How long Sentinels may take to promote a server on a busy machine, and to make a replica of a primary that came back: they
/// look at it every 10 s.
const WHOLE: Duration = Duration::from_secs(60);

/// A server that does not say within this time whether it is a primary is none.
const LOOK: Duration = Duration::from_secs(4);

/// Data servers under the eyes of Sentinels.
pub struct Watched {
    servers: Vec<Server>,
    sentinels: Vec<Server>,
    /// Between server 0 and all the others, Sentinels included; clients of server 0's own port are on its side.
    link: Link,
    /// The replication ids of those that were found as primaries.
    terms: Mutex<Vec<String>>,
}

impl Watched {
    /// Starts a primary (server 0), so many replicas and three Sentinels, and waits until all know one another.
    #[track_caller]
    pub fn start(replicas: usize) -> Watched {
        Watched::start_with(replicas, |_, settings| settings)
    }

    /// The same, with other settings for each data server.
    #[track_caller]
    pub fn start_with(replicas: usize, settings: impl Fn(usize, ServerBuilder) -> ServerBuilder) -> Watched {
        let link = Link::new();
        let primary = settings(0, Server::builder().announced_at(link.port())).start();
        link.lead_to(primary.port());
        let mut servers = vec![primary];
        for n in 1..=replicas {
            let replica = settings(n, Server::builder().replica_of_port(link.port())).start();
            servers.push(replica);
        }
        for replica in &servers[1..] {
            until("a replica is in step", || replica.info_field("replication", "master_link_status") == "up");
        }
        let sentinels = (0..3).map(|_| Server::builder().sentinel_of(PRIMARY, link.port(), DOWN_AFTER_MS).start());
        let watched = Watched { sentinels: sentinels.collect(), servers, link, terms: Mutex::default() };
        for sentinel in &watched.sentinels {
            until("a Sentinel knows all", || {
                let known = |what: &str| match sentinel.cmd(&["SENTINEL", what, PRIMARY]) {
                    Value::Array(known) => known.len(),
                    _ => 0,
                };
                known("REPLICAS") == replicas && known("SENTINELS") == 2
            });
        }
        watched
    }

    /// A data server; 0 is the one that started as the primary.
    pub fn server(&self, n: usize) -> &Server {
        &self.servers[n]
    }

    /// The network between server 0 and all others; behind it is who connects to server 0's own port.
    pub fn link(&self) -> &Link {
        &self.link
    }

    /// The port by which others than its own clients reach a server.
    fn seen_at(&self, n: usize) -> u16 {
        if n == 0 {
            self.link.port()
        } else {
            self.servers[n].port()
        }
    }

    /// The server that others reach by this port.
    pub fn at(&self, port: u16) -> usize {
        (0..self.servers.len()).find(|n| self.seen_at(*n) == port).expect("a server of ours")
    }

    /// The Sentinels.
    pub fn sentinels(&self) -> &[Server] {
        &self.sentinels
    }

    /// The Sentinels' addresses as `redis://` URLs.
    pub fn urls(&self) -> Vec<String> {
        self.sentinels.iter().map(|sentinel| format!("redis://127.0.0.1:{}", sentinel.port())).collect()
    }

    /// Which data server the first Sentinel calls the primary.
    pub fn primary(&self) -> usize {
        let answer = self.sentinels[0].cmd(&args!["SENTINEL", "GET-MASTER-ADDR-BY-NAME", PRIMARY]);
        self.at(answer.array()[1].text().parse().expect("a port"))
    }

    /// A connection to the primary that this Sentinel names, and the number of its term, for histories.
    pub fn find_primary(&self, sentinel: usize) -> Option<(u16, Client)> {
        let answer = self.sentinels[sentinel].cmd(&args!["SENTINEL", "GET-MASTER-ADDR-BY-NAME", PRIMARY]);
        self.connect(answer.array()[1].text().parse().expect("a port"))
    }

    /// The same for a data server that is a primary, by its own port.
    pub fn find(&self, n: usize) -> Option<(u16, Client)> {
        self.connect(self.servers[n].port())
    }

    /// A server is given a new replication id when it becomes a primary: that names its term. (Sentinels close the connections
    /// of clients to a server that they demote, so none outlives a term.)
    fn connect(&self, port: u16) -> Option<(u16, Client)> {
        let mut client = Client::connect(port).ok()?;
        client.set_deadline(LOOK);
        let info = client.try_cmd(&["INFO", "replication"]).ok()?.text();
        let field = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
        let id = field("master_replid:").filter(|_| field("role:").as_deref() == Some("master"))?;
        let mut terms = self.terms.lock().unwrap_or_else(PoisonError::into_inner);
        let n = terms.iter().position(|known| *known == id).unwrap_or_else(|| {
            terms.push(id);
            terms.len() - 1
        });
        Some((u16::try_from(n).ok()?, client))
    }

    /// The terms of all primaries that were found, in that order.
    pub fn terms(&self) -> Vec<u16> {
        (0..).take(self.terms.lock().unwrap_or_else(PoisonError::into_inner).len()).collect()
    }

    /// Waits until another server than this one is the primary, for the Sentinels and for itself: which.
    #[track_caller]
    pub fn until_failover(&self, from: usize) -> usize {
        let promoted = poll(WHOLE, || {
            let now = self.primary();
            let is_primary = now != from && self.servers[now].info_field("replication", "role") == "master";
            is_primary.then_some(now)
        });
        promoted.unwrap_or_else(|| panic!("no other server was promoted within {WHOLE:?}"))
    }

    /// Waits until all data servers are up and replicate from the primary.
    #[track_caller]
    pub fn until_whole(&self) {
        let whole = poll(WHOLE, || {
            let primary = self.seen_at(self.primary()).to_string();
            let replicas = self.servers.len() - 1;
            let in_step = |server: &&Server| {
                let info = server.info("replication");
                info.get("master_link_status").is_some_and(|status| status == "up")
                    && info.get("master_port").is_some_and(|port| *port == primary)
            };
            (self.servers.iter().filter(in_step).count() == replicas).then_some(())
        });
        assert!(whole.is_some(), "a server does not replicate from the new primary after {WHOLE:?}");
    }
}
