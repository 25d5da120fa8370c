//! Locks in the memory of this process, for the tests of programs.
//!
//! This is a server with the same commands and no network. The rest of the client is what programs use with a real
//! server, so that a program behaves the same over both.

mod command;
mod network;
mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use redis::{Cmd, PushInfo, PushKind, Value};
use tokio::sync::{mpsc, oneshot, Notify};
use tokio::time::{sleep_until, Instant};
use tokio_util::sync::CancellationToken;

use crate::chance::Chance;
use crate::clock::{Clock, Moment};
use crate::error::Failure;
use crate::sync::lock;

use command::{matches, Command, Key, Outcome};
use network::Network;
use table::{Hold, Table};

type PushHandler = Box<dyn Fn(PushInfo) + Send + Sync>;

/// A server in the memory of this process: [`Builder::memory`](crate::Builder::memory) connects to it.
///
/// It has the commands of the redis-lock module, with queues, leases, limits, cooling, sessions, deadlock detection and
/// CLIENT TRACKING, but no replicas. Time is that of the tokio runtime, so that a test can pause it with
/// `tokio::time::pause`. Clones are the same server.
///
/// A test can also make trouble: [`stall`](Server::stall) and [`disconnect`](Server::disconnect).
///
/// ```
/// use std::time::Duration;
/// use redis_lock_client::{Error, Locks, MemoryServer};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> Result<(), Error> {
/// let server = MemoryServer::new();
/// let (mine, yours) = (Locks::builder().memory(&server)?, Locks::builder().memory(&server)?);
/// let guard = mine.key("door").acquire(Duration::from_secs(1)).await?;
/// assert!(matches!(yours.key("door").acquire(Duration::from_secs(60)).await, Err(Error::NotAcquired)));
/// server.remove("door"); // as an operator would
/// guard.lost().await;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Server(Arc<Shared>);

struct Shared {
    clock: Clock,
    network: Network,
    state: Mutex<State>,
    /// Something has changed that those who wait must know.
    changed: Notify,
}

#[derive(Default)]
struct State {
    table: Table,
    /// Where reports go, by connection.
    connections: BTreeMap<u64, PushHandler>,
    /// The connections that have read a key since it last changed.
    readers: BTreeMap<Key, BTreeSet<u64>>,
    last_connection: u64,
}

impl Server {
    /// A server without locks.
    pub fn new() -> Server {
        Server::with_chance(Chance::new())
    }

    /// A server without locks whose latencies are drawn from this seed, so that a simulation can be repeated.
    pub fn with_seed(seed: u64) -> Server {
        Server::with_chance(Chance::with_seed(seed))
    }

    fn with_chance(chance: Chance) -> Server {
        let clock = Clock::Runtime(Instant::now());
        Server(Arc::new(Shared {
            clock,
            network: Network::new(chance),
            state: Mutex::default(),
            changed: Notify::new(),
        }))
    }

    /// Lets every command and every reply travel for a random time up to this one. At first they take no time.
    pub fn set_latency(&self, most: Duration) {
        self.0.network.set_latency(most);
    }

    /// Stops the server for this long: it receives and answers nothing. Connections stay open.
    pub fn stall(&self, duration: Duration) {
        self.0.network.stall(duration);
    }

    /// Breaks every connection. Commands that were sent may still be executed.
    pub fn disconnect(&self) {
        for report in lock(&self.0.state).connections.values() {
            report(PushInfo { kind: PushKind::Disconnection, data: Vec::new() });
        }
    }

    /// Removes a lock with all its holds, as an operator would with DEL. Returns whether there was one.
    pub fn remove(&self, key: impl AsRef<[u8]>) -> bool {
        self.0.change(|table, now| table.remove(key.as_ref(), now))
    }

    pub(crate) fn clock(&self) -> Clock {
        self.0.clock
    }

    /// Connects. Reports of changes go to `handle_push`.
    pub(crate) fn connect(
        &self,
        handle_push: impl Fn(PushInfo) -> Result<(), ()> + Send + Sync + 'static,
    ) -> Connection {
        let mut state = lock(&self.0.state);
        state.last_connection += 1;
        let id = state.last_connection;
        let report = move |push| {
            let _ = handle_push(push);
        };
        state.connections.insert(id, Box::new(report));
        let (packets, received) = mpsc::unbounded_channel();
        let gone = CancellationToken::new();
        let session = Session { id, server: Arc::clone(&self.0), gone: gone.clone() };
        tokio::spawn(session.serve(received));
        Connection { packets, _end: Arc::new(gone.drop_guard()) }
    }
}

impl Default for Server {
    fn default() -> Self {
        Server::new()
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryServer").finish_non_exhaustive()
    }
}

impl Shared {
    /// Changes the locks, and reports what has changed.
    fn change<T>(&self, change: impl FnOnce(&mut Table, Moment) -> T) -> T {
        let mut state = lock(&self.state);
        let State { table, connections, readers, .. } = &mut *state;
        let result = change(table, self.clock.now());
        for key in std::mem::take(&mut table.changed) {
            for connection in readers.remove(&key).unwrap_or_default() {
                if let Some(report) = connections.get(&connection) {
                    let data = vec![Value::Array(vec![Value::BulkString(key.clone())])];
                    report(PushInfo { kind: PushKind::Invalidate, data });
                }
            }
        }
        drop(state);
        self.changed.notify_waiters();
        result
    }
}

/// The client's end of a connection to a server in memory.
#[derive(Clone)]
pub(crate) struct Connection {
    packets: mpsc::UnboundedSender<Packet>,
    /// Tells the server when the last clone is dropped.
    _end: Arc<tokio_util::sync::DropGuard>,
}

/// A command on its way, and where its reply goes.
struct Packet {
    cmd: Cmd,
    reply: oneshot::Sender<Outcome>,
}

impl Connection {
    /// Sends a command. If the future is dropped, the command is executed all the same.
    pub async fn send(&self, cmd: &Cmd) -> Result<Value, Failure> {
        let lost = || Failure::Lost("the connection to the server was lost".to_owned());
        let (reply, replied) = oneshot::channel();
        self.packets.send(Packet { cmd: cmd.clone(), reply }).map_err(|_| lost())?;
        replied.await.map_err(|_| lost())?.map_err(Failure::Reply)
    }
}

/// The server's end of a connection.
struct Session {
    id: u64,
    server: Arc<Shared>,
    /// Cancelled when the client has closed the connection.
    gone: CancellationToken,
}

impl Session {
    /// Executes what comes, in order. What was sent before the client closed the connection is executed too.
    async fn serve(self, mut packets: mpsc::UnboundedReceiver<Packet>) {
        while let Some(Packet { cmd, reply }) = packets.recv().await {
            self.server.network.travel().await;
            let Some(outcome) = self.execute(&cmd).await else { break };
            self.server.network.travel().await;
            let _ = reply.send(outcome);
        }
        self.server.change(|table, now| table.end_session(self.id, now));
        lock(&self.server.state).connections.remove(&self.id);
    }

    /// Executes a command. The result is `None` if the client has gone while its request waited.
    async fn execute(&self, cmd: &Cmd) -> Option<Outcome> {
        let command = match Command::parse(cmd) {
            Ok(command) => command,
            Err(error) => return Some(Err(error)),
        };
        tokio::select! {
            biased;
            outcome = self.run(command) => Some(outcome),
            () = self.gone.cancelled() => None,
        }
    }

    async fn run(&self, command: Command) -> Outcome {
        let Command { name, keys, owner, options, pattern } = command;
        let (server, id) = (&self.server, self.id);
        match name.as_str() {
            "ACQUIRE" => {
                let granted = server.change(|table, now| table.acquire(&keys, &owner, &options, id, now))?;
                match (granted, options.block) {
                    (Some(fences), _) => Ok(fences),
                    (None, None) => Ok(Value::Nil),
                    (None, Some(block)) => {
                        let (number, mut answer) =
                            server.change(|table, now| table.wait(&keys, &owner, &options, id, now))?;
                        let waiting = Waiting { server, number };
                        let answered = waiting.until_answered(block, &mut answer).await;
                        drop(waiting);
                        // The grant may have come together with the end of the wait.
                        answered.or_else(|| answer.try_recv().ok()).unwrap_or(Ok(Value::Nil))
                    }
                }
            }
            "RELEASE" => Ok(Value::Int(server.change(|table, now| table.release(&keys, &owner, &options, now))?)),
            "EXTEND" => Ok(Value::Int(server.change(|table, now| table.extend(&keys, &owner, &options, now)))),
            "CHECK" => Ok(self.read(&keys, |table, key, now| {
                table.hold(key, &owner).map_or(Value::Nil, |hold| {
                    Value::Array(vec![Value::Int(hold.fence), millis(hold.until.since(now))])
                })
            })),
            "INFO" => Ok(self.read(&keys, info)),
            "LIST" => Ok(server.change(|table, now| {
                table.serve(now);
                let is_listed = |key: &Key| pattern.as_ref().is_none_or(|pattern| matches(pattern, key));
                let locks =
                    table.locks.keys().filter(|key| is_listed(key)).filter_map(|key| list(table, key, &owner, now));
                Value::Array(vec![text("0"), Value::Array(locks.collect())])
            })),
            "PING" => Ok(Value::SimpleString("PONG".to_owned())),
            // There are no replicas.
            "WAIT" => Ok(Value::Int(0)),
            other => Err(crate::error::ServerError::new("ERR", Some(&format!("unknown command {other}")))),
        }
    }

    /// Reads a lock. The next change of it is reported to this connection.
    fn read(&self, keys: &[Key], read: impl Fn(&Table, &[u8], Moment) -> Value) -> Value {
        let Some(key) = keys.first() else { return Value::Nil };
        let value = self.server.change(|table, now| {
            table.serve(now);
            read(table, key, now)
        });
        lock(&self.server.state).readers.entry(key.clone()).or_default().insert(self.id);
        value
    }
}

/// A request that waits. If it is dropped, the wait ends.
struct Waiting<'a> {
    server: &'a Shared,
    number: u64,
}

impl Waiting<'_> {
    /// Waits for the answer, and ends leases meanwhile. The result is `None` if the time is up.
    async fn until_answered(
        &self,
        block: Duration,
        answer: &mut tokio::sync::oneshot::Receiver<Outcome>,
    ) -> Option<Outcome> {
        let end = Instant::now().checked_add(block).filter(|_| !block.is_zero());
        loop {
            let changed = self.server.changed.notified();
            let now = self.server.clock.now();
            let next = lock(&self.server.state).table.next_end().map(|next| Instant::now() + next.since(now));
            // Without a hold that ends, only a change can help.
            let far = Instant::now() + Duration::from_secs(86400);
            let wake = next.into_iter().chain(end).min().unwrap_or(far);
            tokio::select! {
                biased;
                answered = &mut *answer => return answered.ok(),
                () = changed => {}
                () = sleep_until(wake) => {
                    if end.is_some_and(|end| Instant::now() >= end) {
                        return None;
                    }
                    self.server.change(Table::serve);
                }
            }
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.server.change(|table, now| table.forget(self.number, now));
    }
}

fn info(table: &Table, key: &[u8], now: Moment) -> Value {
    let waiters: Vec<_> = table.waiters.iter().filter(|waiter| waiter.keys.iter().any(|other| other == key)).collect();
    let lock = table.locks.get(key);
    if lock.is_none() && waiters.is_empty() {
        return Value::Nil;
    }
    let holds = lock.map_or(&[][..], |lock| lock.holds.as_slice());
    let cooling = lock.and_then(|lock| lock.cooling);
    let holders = holds.iter().take(100).map(|hold| {
        map([
            ("owner", Value::BulkString(hold.owner.clone())),
            ("fence", Value::Int(hold.fence)),
            ("ttl", millis(hold.until.since(now))),
            ("held", millis(now.since(hold.granted))),
            ("limit", Value::Int(hold.limit.into())),
            ("session", count(hold.session)),
            ("weight", Value::Int(hold.weight.into())),
            ("max", millis(hold.most.map_or(Duration::ZERO, |most| most.since(now)))),
        ])
    });
    let queue = waiters.iter().take(10).map(|waiter| {
        map([
            ("owner", Value::BulkString(waiter.owner.clone())),
            ("mode", text(if waiter.options.is_shared { "shared" } else { "exclusive" })),
            ("waited", millis(now.since(waiter.since))),
            ("client", count(waiter.connection)),
        ])
    });
    map([
        ("mode", text(mode(holds, cooling))),
        ("holders-count", count(holds.len() as u64)),
        ("holders", Value::Array(holders.collect())),
        ("waiters", count(waiters.len() as u64)),
        ("queue", Value::Array(queue.collect())),
        ("cooling", millis(cooling.map_or(Duration::ZERO, |end| end.since(now)))),
    ])
}

/// A lock in a list, if this owner has it; an empty name stands for anybody.
fn list(table: &Table, key: &Key, owner: &[u8], now: Moment) -> Option<Value> {
    let lock = table.locks.get(key)?;
    let hold = lock.holds.iter().find(|hold| owner.is_empty() || hold.owner == owner);
    if hold.is_none() && !owner.is_empty() {
        return None;
    }
    let waiters = table.waiters.iter().filter(|waiter| waiter.keys.contains(key)).count();
    let rest = lock.cooling.map_or(Duration::ZERO, |end| end.since(now));
    Some(map([
        ("key", Value::BulkString(key.clone())),
        ("mode", text(mode(&lock.holds, lock.cooling))),
        ("owner", Value::BulkString(hold.map_or_else(Vec::new, |hold| hold.owner.clone()))),
        ("holders-count", count(lock.holds.len() as u64)),
        ("fence", Value::Int(hold.map_or(0, |hold| hold.fence))),
        ("ttl", millis(hold.map_or(rest, |hold| hold.until.since(now)))),
        ("held", millis(hold.map_or(Duration::ZERO, |hold| now.since(hold.granted)))),
        ("waiters", count(waiters as u64)),
    ]))
}

fn mode(holds: &[Hold], cooling: Option<Moment>) -> &'static str {
    match (holds.first(), cooling) {
        (Some(hold), _) if hold.is_shared => "shared",
        (Some(_), _) => "exclusive",
        (None, Some(_)) => "cooling",
        (None, None) => "free",
    }
}

fn map<const N: usize>(fields: [(&str, Value); N]) -> Value {
    Value::Map(fields.into_iter().map(|(name, value)| (text(name), value)).collect())
}

fn text(text: &str) -> Value {
    Value::BulkString(text.as_bytes().to_vec())
}

fn millis(duration: Duration) -> Value {
    Value::Int(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX))
}

fn count(number: u64) -> Value {
    Value::Int(i64::try_from(number).unwrap_or(i64::MAX))
}
