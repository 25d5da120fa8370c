//! Sends commands to the server that has the key, and sends them again if the reply is lost or the key has moved.
//!
//! Short commands share one connection to each server. A wait has a connection of its own, because the server executes
//! nothing that follows a waiting command on the same connection.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Cmd, PushInfo, RedisError, Value};
use tokio::sync::OnceCell;
use tokio::time::timeout_at;

use crate::discovery::{client_address, parse_address, Address, Discovery};
use crate::error::{io_error, Error};
use crate::invalidations::Invalidations;
use crate::reply::{is_one, is_reply_lost, parse_fence, Released, Reply};
use crate::spec::{block_ms, Spec};
use crate::sync::lock;

/// How long the reply to a command that does not wait may take. Also how much later than its deadline the server may
/// report the end of a wait.
pub(crate) const REPLY_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a server may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// The first pause before a command is sent again. Each further pause is twice as long, up to `PAUSE_MAX`.
const PAUSE_MIN: Duration = Duration::from_millis(5);
const PAUSE_MAX: Duration = Duration::from_millis(200);
/// How many redirections in a row are followed without a pause. Nodes that disagree redirect a client to and fro.
const REDIRECTIONS: u32 = 3;
/// Error codes of states that end by themselves, or that another server does not have. Every command of a lock names
/// its owner, so it may be sent again after any of them.
const TRANSIENT: [&str; 10] =
    ["MOVED", "ASK", "TRYAGAIN", "CLUSTERDOWN", "LOADING", "BUSY", "READONLY", "UNBLOCKED", "MASTERDOWN", "NOREPLICAS"];

/// One deployment to which commands are sent: a server, the primary that Sentinels name, or a cluster.
pub(crate) struct Endpoint {
    discovery: Discovery,
    /// The connections that short commands share, by server.
    shared: Mutex<HashMap<Address, Arc<OnceCell<MultiplexedConnection>>>>,
    invalidations: Arc<Invalidations>,
}

/// The connection of a wait, empty until the wait has connected.
pub(crate) type WaitConnection = Arc<Mutex<Option<MultiplexedConnection>>>;

/// The connection over which a command goes, and what a refused connection means to it.
#[derive(Clone, Copy)]
enum Route<'a> {
    /// The shared connection. If the server refuses it, the command is tried again.
    Shared,
    /// The shared connection. If the server refuses it, the command fails at once.
    FailFast,
    /// A new connection, which is stored there for the withdrawal of the wait.
    Wait(&'a WaitConnection),
}

/// What a watch of a hold has seen.
pub(crate) enum WatchEvent {
    /// The owner did not hold the lock when the watch began.
    NotHeld,
    /// The owner held the lock when the watch began. Then the lock changed or the connection was lost.
    Changed,
}

impl Endpoint {
    pub fn new(discovery: Discovery) -> Endpoint {
        Endpoint { discovery, shared: Mutex::default(), invalidations: Arc::default() }
    }

    /// Sends LOCK.ACQUIRE and waits up to `deadline`, without limit if that is `None`. Returns the reply, and the
    /// earliest moment at which the lease can have begun.
    pub async fn acquire(
        &self,
        spec: &Spec,
        owner: &str,
        deadline: Option<Instant>,
        wait_connection: &WaitConnection,
    ) -> Result<(Reply, Instant), Error> {
        loop {
            let sent_at = Instant::now();
            let reply = if block_ms(deadline).is_some() {
                // Each attempt computes the remaining time anew.
                let acquire = || spec.acquire(owner, block_ms(deadline));
                self.send(&spec.key, acquire, deadline, Route::Wait(wait_connection)).await?
            } else {
                let cmd = spec.acquire(owner, None);
                self.send(&spec.key, || cmd.clone(), Some(sent_at + REPLY_TIMEOUT), Route::Shared).await?
            };
            let Some(fence) = parse_fence(&reply.value)? else { return Ok((reply, sent_at)) };
            if sent_at.elapsed() < spec.lease / 10 {
                return Ok((reply, sent_at));
            }
            // The lease may have begun at any moment of a long wait. An extension starts it at a known one.
            let sent_at = Instant::now();
            if is_one(&self.call(&spec.key, &spec.extend(owner, fence), sent_at + REPLY_TIMEOUT).await?) {
                return Ok((reply, sent_at));
            }
        }
    }

    /// Sends a command about the key. Sends it again up to `deadline` if the reply is lost, if the server refuses the
    /// connection, or if the key has moved.
    pub async fn call(&self, key: &[u8], cmd: &Cmd, deadline: Instant) -> Result<Value, Error> {
        Ok(self.send(key, || cmd.clone(), Some(deadline), Route::Shared).await?.value)
    }

    /// Sends a command about the key like [`Endpoint::call`], but fails at once if the server refuses the connection, or
    /// grants nothing because it has just started.
    pub async fn call_fail_fast(&self, key: &[u8], cmd: &Cmd, deadline: Instant) -> Result<Value, Error> {
        Ok(self.send(key, || cmd.clone(), Some(deadline), Route::FailFast).await?.value)
    }

    /// Releases the hold of this owner and cancels its waits. Tries for 2 s.
    pub async fn release(&self, spec: &Spec, owner: &str) -> Result<Released, Error> {
        let cmd = spec.release(owner);
        let deadline = Instant::now() + REPLY_TIMEOUT;
        let reply = self.send(&spec.key, || cmd.clone(), Some(deadline), Route::Shared).await?;
        Ok(Released::from_reply(&reply))
    }

    /// Returns when the server reports that the hold of this owner may have ended, or that the owner does not hold the
    /// lock. Never returns if the user may not run LOCK.CHECK.
    pub async fn watch(&self, spec: &Spec, owner: &str) -> WatchEvent {
        loop {
            let mut subscription = self.invalidations.subscribe(&spec.key);
            match self.call_fail_fast(&spec.key, &spec.check(owner), Instant::now() + REPLY_TIMEOUT).await {
                Ok(Value::Nil) => return WatchEvent::NotHeld,
                Ok(_) => {
                    subscription.invalidated().await;
                    return WatchEvent::Changed;
                }
                // The server may return, or another one take its place.
                Err(Error::Server(error)) if is_reply_lost(&error) => tokio::time::sleep(PAUSE_MAX).await,
                Err(_) => return std::future::pending().await,
            }
        }
    }

    /// Sends the command until a reply comes that is not transient, up to `deadline`. A wait may be answered 2 s after
    /// it.
    async fn send(
        &self,
        key: &[u8],
        cmd: impl Fn() -> Cmd,
        deadline: Option<Instant>,
        route: Route<'_>,
    ) -> Result<Reply, Error> {
        let slot = self.discovery.slot(key);
        let grace = if let Route::Wait(_) = route { REPLY_TIMEOUT } else { Duration::ZERO };
        let reply_deadline = deadline.and_then(|deadline| deadline.checked_add(grace));
        let mut ask = None;
        let mut is_retried = false;
        let (mut pause, mut redirections) = (PAUSE_MIN, 0);
        loop {
            let error = match run_until(reply_deadline, self.send_once(slot, &cmd(), ask.take(), route)).await {
                Some(Ok(value)) => return Ok(Reply { value, is_retried }),
                Some(Err(error)) => error,
                None => {
                    self.forget(slot);
                    return Err(io_error("no answer in time").into());
                }
            };
            let is_late = deadline.is_some_and(|deadline| Instant::now() >= deadline);
            if is_late || !self.is_transient(&error, route) {
                return Err(error.into());
            }
            is_retried |= is_reply_lost(&error);
            match (error.code(), error.redirect_node().and_then(|(address, _)| parse_address(address))) {
                (Some("MOVED"), Some(address)) => self.discovery.record_move(slot, address),
                (Some("ASK"), Some(address)) => ask = Some(address),
                (Some("TRYAGAIN"), _) => {}
                _ => self.forget(slot),
            }
            if matches!(error.code(), Some("MOVED" | "ASK")) && redirections < REDIRECTIONS {
                redirections += 1;
                continue;
            }
            let next = Instant::now() + pause;
            tokio::time::sleep_until(deadline.map_or(next, |deadline| deadline.min(next)).into()).await;
            (pause, redirections) = ((pause * 2).min(PAUSE_MAX), 0);
        }
    }

    /// Whether the command may succeed if it is sent again after this error.
    fn is_transient(&self, error: &RedisError, route: Route<'_>) -> bool {
        match error.code() {
            Some("MOVED" | "ASK") => self.discovery.is_cluster(),
            // A member of a quorum in its start quarantine. The others are the majority, and must not wait for it.
            Some("TRYAGAIN") if matches!(route, Route::FailFast) => self.discovery.is_cluster(),
            Some(code) => TRANSIENT.contains(&code),
            None if error.is_connection_refusal() => !matches!(route, Route::FailFast),
            None => is_reply_lost(error),
        }
    }

    /// Sends the command once. `ask` is the node that an ASK redirection named.
    async fn send_once(
        &self,
        slot: u16,
        cmd: &Cmd,
        ask: Option<Address>,
        route: Route<'_>,
    ) -> Result<Value, RedisError> {
        let is_asking = ask.is_some();
        let client = match ask {
            Some(address) => self.discovery.open_client(address)?,
            None => self.discovery.locate(slot).await?,
        };
        let mut connection = match route {
            Route::Shared | Route::FailFast => self.shared_connection(&client).await?,
            Route::Wait(wait_connection) => {
                let connection = client.get_multiplexed_async_connection_with_config(&connection_config()).await?;
                *lock(wait_connection) = Some(connection.clone());
                connection
            }
        };
        if !is_asking {
            return cmd.query_async(&mut connection).await;
        }
        let mut pipeline = redis::pipe();
        pipeline.cmd("ASKING").ignore().add_command(cmd.clone());
        let (value,) = pipeline.query_async(&mut connection).await?;
        Ok(value)
    }

    /// The connection to this server that short commands share. It is opened once, however many commands need it.
    async fn shared_connection(&self, client: &Client) -> Result<MultiplexedConnection, RedisError> {
        let cell = Arc::clone(lock(&self.shared).entry(client_address(client)).or_default());
        cell.get_or_try_init(|| self.connect(client)).await.cloned()
    }

    /// Opens a connection on which the server reports changes of locks.
    async fn connect(&self, client: &Client) -> Result<MultiplexedConnection, RedisError> {
        let invalidations = Arc::clone(&self.invalidations);
        let handle_push = move |push: PushInfo| {
            invalidations.handle_push(push);
            Ok::<(), ()>(())
        };
        let config = connection_config().set_push_sender(handle_push);
        let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
        // A user without the right to this command learns of a loss from the next renewal.
        let _: Result<(), RedisError> =
            redis::cmd("CLIENT").arg("TRACKING").arg("ON").query_async(&mut connection).await;
        Ok(connection)
    }

    /// Drops what is known about the server of this slot, and the shared connection to it.
    fn forget(&self, slot: u16) {
        match self.discovery.forget(slot) {
            Some(address) => drop(lock(&self.shared).remove(&address)),
            None => lock(&self.shared).clear(),
        }
    }
}

/// The configuration of every connection. Replies have no time limit here, because each command sets its own.
fn connection_config() -> AsyncConnectionConfig {
    AsyncConnectionConfig::new().set_connection_timeout(Some(CONNECT_TIMEOUT)).set_response_timeout(None)
}

/// Runs the future up to `deadline`, without limit if that is `None`. The result is `None` if the future took too long.
async fn run_until<T>(deadline: Option<Instant>, future: impl Future<Output = T>) -> Option<T> {
    match deadline {
        Some(deadline) => timeout_at(deadline.into(), future).await.ok(),
        None => Some(future.await),
    }
}
