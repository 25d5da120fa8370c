//! A client of a cluster as clients are: it knows where a key was last, and follows redirects.

use std::collections::HashMap;
use std::thread;
use std::time::{Duration, Instant};

use super::client::Client;
use super::value::Value;

/// The pause before a node is asked again that said TRYAGAIN.
const PAUSE: Duration = Duration::from_millis(5);
/// How many redirects one command follows at most: far more than a slot that moves takes.
const REDIRECTS_MAX: usize = 1000;

/// What a node answered that had the key.
#[derive(Debug)]
pub struct Answer {
    /// When the command was sent that was answered with this; all before were turned away.
    pub called: Instant,
    /// The port of the node.
    pub server: u16,
    /// The answer.
    pub value: Value,
}

/// One client, with a connection to each node that it met.
pub struct ClusterClient {
    /// The nodes it may begin with, by their ports.
    nodes: Vec<u16>,
    /// Which of them it begins with when it knows nothing of a key.
    next: usize,
    /// Where a key was last.
    homes: HashMap<String, u16>,
    connections: HashMap<u16, Client>,
    silence: Duration,
}

impl ClusterClient {
    /// Knows these nodes, and gives one up that says nothing for so long.
    pub fn new(nodes: Vec<u16>, silence: Duration) -> ClusterClient {
        ClusterClient { nodes, next: 0, homes: HashMap::new(), connections: HashMap::new(), silence }
    }

    /// Sends the command to the node that has this key, as often as it is sent on (MOVED, ASK, TRYAGAIN). `None`: a node is
    /// gone, or cannot say now; it may have taken the command all the same.
    pub fn ask(&mut self, key: &str, command: &[&str]) -> Option<Answer> {
        let mut asking = None;
        for _ in 0..REDIRECTS_MAX {
            let server = asking.unwrap_or_else(|| self.home(key));
            let called = Instant::now();
            let Some(value) = self.send(server, asking.is_some(), command) else {
                self.forget(key, server);
                return None;
            };
            let Value::Error(text) = &value else {
                return Some(Answer { called, server, value });
            };
            asking = None;
            let (code, rest) = text.split_once(' ').unwrap_or((text, ""));
            let port =
                || rest.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).expect("a redirect names a node");
            match code {
                "MOVED" => drop(self.homes.insert(key.to_owned(), port())),
                "ASK" => asking = Some(port()),
                "TRYAGAIN" => thread::sleep(PAUSE),
                "CLUSTERDOWN" | "UNBLOCKED" | "READONLY" | "LOADING" | "MASTERDOWN" => {
                    self.forget(key, server);
                    return None;
                }
                _ => return Some(Answer { called, server, value }),
            }
        }
        panic!("{command:?} was sent on {REDIRECTS_MAX} times");
    }

    fn home(&self, key: &str) -> u16 {
        self.homes.get(key).copied().unwrap_or_else(|| self.nodes[self.next % self.nodes.len()])
    }

    /// Another node is asked next about this key.
    fn forget(&mut self, key: &str, server: u16) {
        self.homes.remove(key);
        self.connections.remove(&server);
        self.next += 1;
    }

    fn send(&mut self, server: u16, is_asking: bool, command: &[&str]) -> Option<Value> {
        if !self.connections.contains_key(&server) {
            let mut client = Client::connect(server).ok()?;
            client.set_deadline(self.silence);
            self.connections.insert(server, client);
        }
        let client = self.connections.get_mut(&server)?;
        if is_asking {
            client.try_cmd(&["ASKING"]).ok()?;
        }
        client.try_cmd(command).ok()
    }
}
