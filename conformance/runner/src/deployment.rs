//! The servers of one scenario, and the relays before them.

use serde_json::{json, Value};
use support::{process_state, Cluster, Relay, Server, ServerBuilder, Watched, PRIMARY};

use crate::outcome::{fail, Outcome};

/// How many lines of a server's log a report shows.
const TAIL: usize = 25;

/// Servers of one kind.
#[expect(clippy::large_enum_variant, reason = "there is one for each scenario")]
pub enum Servers {
    /// One server.
    Single(Server),
    /// A primary with a replica.
    Replicated {
        /// The replica. It stands first, so that it ends first.
        replica: Server,
        /// The primary, to which applications connect.
        primary: Server,
    },
    /// A primary and replicas that Sentinels watch.
    Sentinel(Watched),
    /// A Redis Cluster, with the number of its nodes.
    Cluster(Cluster, usize),
    /// Independent servers.
    Quorum(Vec<Server>),
    /// None: the client has a fake of its own.
    Fake,
}

/// Servers, and the relays by which applications reach them, if there are any.
pub struct Deployment {
    servers: Servers,
    relays: Vec<Relay>,
}

/// How a deployment is to be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One server.
    Single,
    /// A primary with one replica.
    Replicated,
    /// A primary with one replica and three Sentinels.
    Sentinel,
    /// A cluster of three primaries with a replica each.
    Cluster,
    /// So many independent servers.
    Quorum(usize),
    /// No server.
    Fake,
}

impl Deployment {
    /// Starts the servers with these lines in their configuration files. Only single servers and the members of a
    /// quorum can stand behind relays, because the other servers tell clients where to connect.
    pub fn start(kind: Kind, lines: &[String], behind_relays: bool) -> Outcome<Deployment> {
        let with = |builder: ServerBuilder| lines.iter().fold(builder, |builder, line| builder.config(line.as_str()));
        let servers = match kind {
            Kind::Single => Servers::Single(with(Server::builder()).try_start()?),
            Kind::Replicated => {
                let primary = with(Server::builder()).try_start()?;
                let replica = Server::builder().replica_of(&primary).try_start()?;
                support::until_synced(&primary, &replica);
                Servers::Replicated { replica, primary }
            }
            Kind::Sentinel => Servers::Sentinel(Watched::start_with(1, |_, builder| with(builder))),
            Kind::Cluster => Servers::Cluster(Cluster::start_with(3, 1, with), 6),
            Kind::Fake => Servers::Fake,
            Kind::Quorum(members) => {
                let start = |_| with(Server::builder()).try_start();
                Servers::Quorum((0..members).map(start).collect::<Outcome<_>>()?)
            }
        };
        let mut deployment = Deployment { servers, relays: Vec::new() };
        if behind_relays {
            deployment.relays = match &deployment.servers {
                Servers::Single(server) => vec![Relay::start(server.port())],
                Servers::Quorum(members) => members.iter().map(|member| Relay::start(member.port())).collect(),
                _ => return fail("only a single server or a quorum can stand behind relays"),
            };
        }
        Ok(deployment)
    }

    /// What the servers are.
    pub fn servers(&self) -> &Servers {
        &self.servers
    }

    /// The relays, one for each server.
    pub fn relays(&self) -> Outcome<&[Relay]> {
        match self.relays.as_slice() {
            [] => fail("the scenario has no relay: say 'a single server behind a relay'"),
            relays => Ok(relays),
        }
    }

    /// The members of the request `connect` that say where the servers are. `user` is `name:password`.
    pub fn address(&self, user: Option<&str>) -> Value {
        let at = user.map(|user| format!("{user}@")).unwrap_or_default();
        let url = |port: u16| format!("redis://{at}127.0.0.1:{port}");
        let through = |servers: &[&Server]| -> Vec<String> {
            let own = servers.iter().map(|server| server.port());
            let ports: Vec<u16> =
                if self.relays.is_empty() { own.collect() } else { self.relays.iter().map(Relay::port).collect() };
            ports.into_iter().map(url).collect()
        };
        match &self.servers {
            Servers::Single(server) | Servers::Replicated { primary: server, .. } => {
                json!({"deployment": "single", "urls": through(&[server])})
            }
            Servers::Sentinel(watched) => {
                json!({"deployment": "sentinel", "urls": watched.urls(), "service": PRIMARY})
            }
            Servers::Cluster(cluster, _) => {
                let urls: Vec<String> = cluster.ports().into_iter().take(2).map(url).collect();
                json!({"deployment": "cluster", "urls": urls})
            }
            Servers::Fake => json!({"deployment": "fake", "urls": []}),
            Servers::Quorum(members) => {
                json!({"deployment": "quorum", "urls": through(&members.iter().collect::<Vec<_>>())})
            }
        }
    }

    /// All data servers.
    pub fn all(&self) -> Vec<&Server> {
        match &self.servers {
            Servers::Single(server) => vec![server],
            Servers::Replicated { replica, primary } => vec![primary, replica],
            Servers::Sentinel(watched) => (0..2).map(|n| watched.server(n)).collect(),
            Servers::Cluster(cluster, nodes) => (0..*nodes).map(|n| cluster.node(n)).collect(),
            Servers::Quorum(members) => members.iter().collect(),
            Servers::Fake => Vec::new(),
        }
    }

    /// The data servers that answer: they run and are not stopped.
    pub fn answering(&self) -> Vec<&Server> {
        let answers = |server: &&Server| server.is_alive() && process_state(server.pid()) != Some('T');
        self.all().into_iter().filter(answers).collect()
    }

    /// The servers that answer and take writes.
    pub fn primaries(&self) -> Vec<&Server> {
        let is_primary = |server: &&Server| server.info_field("replication", "role") == "master";
        match &self.servers {
            // A primary that was deposed and does not know it yet says that it is one.
            Servers::Sentinel(watched) => {
                let primary = watched.server(watched.primary());
                self.answering().into_iter().filter(|server| server.port() == primary.port()).collect()
            }
            Servers::Single(_) => self.answering(),
            _ => self.answering().into_iter().filter(is_primary).collect(),
        }
    }

    /// The server of a deployment that has one primary at a time.
    pub fn primary(&self) -> Outcome<&Server> {
        match self.primaries().as_slice() {
            [primary] => Ok(primary),
            others => fail(format!("there is not one primary, but {}", others.len())),
        }
    }

    /// The cluster.
    pub fn cluster(&self) -> Outcome<&Cluster> {
        match &self.servers {
            Servers::Cluster(cluster, _) => Ok(cluster),
            _ => fail("the scenario has no cluster"),
        }
    }

    /// The end of each server's log.
    pub fn log_tails(&self) -> String {
        let mut text = String::new();
        for server in self.all() {
            let log = server.log();
            let lines: Vec<&str> = log.lines().collect();
            let tail = lines.get(lines.len().saturating_sub(TAIL)..).unwrap_or_default().join("\n");
            text.push_str(&format!("--- log of the server on port {} ---\n{tail}\n", server.port()));
        }
        text
    }
}
