//! What the runner has named: clients, holds and acquisitions under way.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use redis_lock_client::{Guard, Leadership, Locks, MemoryServer, Owner};
use serde_json::{json, Value};
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;

use crate::failure::Failure;
use crate::protocol::Line;

/// A hold that the runner has named, and the client that has it.
#[derive(Clone)]
pub struct Held {
    pub guard: Guard,
    pub locks: String,
    /// The task that tells the runner of the loss.
    pub watch: AbortHandle,
}

/// Everything that requests share.
pub struct State {
    lines: mpsc::UnboundedSender<Line>,
    /// The server of all clients that have no real one.
    memory: MemoryServer,
    clients: Mutex<HashMap<String, Locks>>,
    holds: Mutex<HashMap<String, Held>>,
    /// The owners that the runner has named, by client and scope.
    owners: Mutex<HashMap<(String, String), Owner>>,
    leaderships: Mutex<HashMap<String, Leadership>>,
    /// What ends each acquisition that is under way, by the id of its request.
    acquisitions: Mutex<HashMap<u64, oneshot::Sender<()>>>,
}

impl State {
    pub fn new(lines: mpsc::UnboundedSender<Line>) -> State {
        State {
            lines,
            memory: MemoryServer::new(),
            clients: Mutex::default(),
            holds: Mutex::default(),
            owners: Mutex::default(),
            leaderships: Mutex::default(),
            acquisitions: Mutex::default(),
        }
    }

    /// Writes a line to the runner.
    pub fn write(&self, line: Line) {
        // The queue is closed only when the process ends.
        let _ = self.lines.send(line);
    }

    pub fn memory(&self) -> &MemoryServer {
        &self.memory
    }

    pub fn add_client(&self, name: &str, locks: Locks) {
        open(&self.clients).insert(name.to_owned(), locks);
    }

    pub fn client(&self, name: &str) -> Result<Locks, Failure> {
        let locks = open(&self.clients).get(name).cloned();
        locks.ok_or_else(|| Failure { kind: "closed", message: format!("no client {name} is connected") })
    }

    /// The owner of this scope, which is a new one if the scope is named for the first time.
    pub fn owner(&self, locks: &str, scope: &str) -> Result<Owner, Failure> {
        let client = self.client(locks)?;
        let name = (locks.to_owned(), scope.to_owned());
        Ok(open(&self.owners).entry(name).or_insert_with(|| client.owner()).clone())
    }

    pub fn add_leadership(&self, name: &str, leadership: Leadership) {
        open(&self.leaderships).insert(name.to_owned(), leadership);
    }

    pub fn take_leadership(&self, name: &str) -> Result<Leadership, Failure> {
        let leadership = open(&self.leaderships).remove(name);
        leadership.ok_or_else(|| Failure::usage(format!("there is no leader {name}")))
    }

    pub fn add_hold(&self, name: &str, held: Held) {
        open(&self.holds).insert(name.to_owned(), held);
    }

    pub fn hold(&self, name: &str) -> Result<Held, Failure> {
        let held = open(&self.holds).get(name).cloned();
        held.ok_or_else(|| Failure::usage(format!("there is no hold {name}")))
    }

    /// The hold of this name, which the runner may no longer name.
    pub fn take_hold(&self, name: &str) -> Result<Held, Failure> {
        let held = open(&self.holds).remove(name);
        held.ok_or_else(|| Failure::usage(format!("there is no hold {name}")))
    }

    /// Announces an acquisition. The result yields when the runner cancels it.
    pub fn begin(&self, id: u64) -> oneshot::Receiver<()> {
        let (cancel, cancelled) = oneshot::channel();
        open(&self.acquisitions).insert(id, cancel);
        cancelled
    }

    /// The acquisition has ended by itself.
    pub fn end(&self, id: u64) {
        open(&self.acquisitions).remove(&id);
    }

    /// Cancels an acquisition; one that has ended is left as it is.
    pub fn cancel(&self, id: u64) -> Value {
        if let Some(cancel) = open(&self.acquisitions).remove(&id) {
            let _ = cancel.send(());
        }
        json!({})
    }

    /// Closes a client as an application would at its end: it releases all holds first.
    pub async fn close(&self, name: &str) -> Result<Value, Failure> {
        let client = open(&self.clients).remove(name);
        open(&self.owners).retain(|(locks, _), _| locks != name);
        let holds: Vec<Held> =
            open(&self.holds).extract_if(|_, held| held.locks == name).map(|(_, held)| held).collect();
        for held in holds {
            held.watch.abort();
            if let Err(error) = held.guard.release().await {
                eprintln!("a hold was not released: {error}");
            }
        }
        if let Some(client) = client {
            client.close().await;
        }
        Ok(json!({}))
    }

    /// Closes every client.
    pub async fn close_all(&self) {
        let names: Vec<String> = open(&self.clients).keys().cloned().collect();
        for name in names {
            let _ = self.close(&name).await;
        }
    }
}

/// Locks a map, also after a task panicked while it held it: each change of a map is one step.
fn open<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
