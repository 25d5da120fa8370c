//! One place to ask: commands go to the server that has the key, and again when their answers are lost.
//!
//! Short commands share a connection for each server; a wait has its own, because whatever is sent behind it waits with it.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Cmd, ErrorKind, PushInfo, RedisError, Value};
use tokio::sync::OnceCell;
use tokio::time::timeout_at;

use crate::back::{yes, ANSWER};
use crate::changes::Changes;
use crate::error::Error;
use crate::find::{address, address_of, io_error, Address, Finder};
use crate::request::{block_ms, Asked};

/// How long a server may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(1);
/// The pauses before a command is sent again.
const PAUSE_MIN: Duration = Duration::from_millis(5);
const PAUSE_MAX: Duration = Duration::from_millis(200);
/// How many redirections in a row are followed without a pause: nodes that disagree send one to and fro.
const REDIRECTIONS: u32 = 3;
/// What servers say that will be otherwise in a moment, here or elsewhere. With a named owner every command of a lock may be
/// sent again.
const PASSING: [&str; 10] =
    ["MOVED", "ASK", "TRYAGAIN", "CLUSTERDOWN", "LOADING", "BUSY", "READONLY", "UNBLOCKED", "MASTERDOWN", "NOREPLICAS"];

/// A place to ask.
pub(crate) struct Node {
    finder: Finder,
    /// The connections that short commands share.
    shared: Mutex<HashMap<Address, Arc<OnceCell<MultiplexedConnection>>>>,
    changes: Arc<Changes>,
}

/// The connection that a wait has for itself, once it has one.
pub(crate) type Line = Arc<Mutex<Option<MultiplexedConnection>>>;

/// How a command goes to its server.
#[derive(Clone, Copy)]
enum Way<'a> {
    /// Over the connection that is shared.
    Shared,
    /// The same, but only once where nobody listens: others are asked too, and are not to wait for this one.
    Vote,
    /// Over a new one, which stands in there then.
    Own(&'a Line),
}

/// What came back.
pub(crate) struct Answer {
    pub value: Value,
    /// An answer was lost before: the server may have done it already when it was asked for this one.
    pub is_repeated: bool,
}

/// What became of a hold that was watched.
pub(crate) enum Seen {
    /// It was not there when one began to look.
    Gone,
    /// It was there, and something happened to the lock, or to the connection.
    Changed,
}

impl Node {
    pub fn new(finder: Finder) -> Node {
        Node { finder, shared: Mutex::default(), changes: Arc::default() }
    }

    /// LOCK.ACQUIRE until then: what was answered, and when the lease was asked for at the earliest.
    pub async fn acquire(
        &self,
        asked: &Asked,
        owner: &str,
        until: Option<Instant>,
        line: &Line,
    ) -> Result<(Answer, Instant), Error> {
        loop {
            let sent = Instant::now();
            let answer = if block_ms(until).is_some() {
                // The time left is reckoned anew each time it is sent.
                self.send(&asked.key, || asked.acquire(owner, block_ms(until)), until, Way::Own(line)).await?
            } else {
                let cmd = asked.acquire(owner, None);
                self.send(&asked.key, || cmd.clone(), Some(sent + ANSWER), Way::Shared).await?
            };
            let Some(fence) = fence(&answer.value)? else { return Ok((answer, sent)) };
            if sent.elapsed() < asked.lease / 10 {
                return Ok((answer, sent));
            }
            // The lease began somewhere in that time: from here on it is known.
            let sent = Instant::now();
            if yes(&self.call(&asked.key, &asked.extend(owner, fence), sent + ANSWER).await?) {
                return Ok((answer, sent));
            }
        }
    }

    /// One command about this key, sent again until then when its answer is lost or the key's server changes.
    pub async fn call(&self, key: &[u8], cmd: &Cmd, until: Instant) -> Result<Value, Error> {
        Ok(self.send(key, || cmd.clone(), Some(until), Way::Shared).await?.value)
    }

    /// [`Node::call`] of one server among others.
    pub async fn vote(&self, key: &[u8], cmd: &Cmd, until: Instant) -> Result<Value, Error> {
        Ok(self.send(key, || cmd.clone(), Some(until), Way::Vote).await?.value)
    }

    /// LOCK.RELEASE.
    pub async fn release(&self, asked: &Asked, owner: &str) -> Result<Answer, Error> {
        let cmd = asked.release(owner);
        self.send(&asked.key, || cmd.clone(), Some(Instant::now() + ANSWER), Way::Shared).await
    }

    /// Returns when the server says that this hold may have ended, or that it is not there; never if it may not be asked.
    pub async fn watch(&self, asked: &Asked, owner: &str) -> Seen {
        loop {
            let mut change = self.changes.of(&asked.key);
            match self.vote(&asked.key, &asked.check(owner), Instant::now() + ANSWER).await {
                Ok(Value::Nil) => return Seen::Gone,
                Ok(_) => {
                    change.happened().await;
                    return Seen::Changed;
                }
                // Its successor will know, as soon as there is one.
                Err(Error::Server(error)) if is_lost(&error) => tokio::time::sleep(PAUSE_MAX).await,
                Err(_) => return std::future::pending().await,
            }
        }
    }

    async fn send(
        &self,
        key: &[u8],
        cmd: impl Fn() -> Cmd,
        until: Option<Instant>,
        way: Way<'_>,
    ) -> Result<Answer, Error> {
        let slot = self.finder.slot(key);
        // The end of a wait is told by the server, a little later.
        let end =
            until.and_then(|until| until.checked_add(if let Way::Own(_) = way { ANSWER } else { Duration::ZERO }));
        let mut ask = None;
        let mut is_repeated = false;
        let (mut pause, mut redirections) = (PAUSE_MIN, 0);
        loop {
            let error = match before(end, self.once(slot, &cmd(), ask.take(), way)).await {
                Some(Ok(value)) => return Ok(Answer { value, is_repeated }),
                Some(Err(error)) => error,
                None => {
                    self.forget(slot);
                    return Err(io_error("no answer in time").into());
                }
            };
            let is_over = until.is_some_and(|until| Instant::now() >= until);
            if is_over || !self.is_passing(&error, way) {
                return Err(error.into());
            }
            is_repeated |= is_lost(&error);
            match (error.code(), error.redirect_node().and_then(|(address, _)| address_of(address))) {
                (Some("MOVED"), Some(address)) => self.finder.learn(slot, address),
                (Some("ASK"), Some(address)) => ask = Some(address),
                (Some("TRYAGAIN"), _) => {}
                _ => self.forget(slot),
            }
            if matches!(error.code(), Some("MOVED" | "ASK")) && redirections < REDIRECTIONS {
                redirections += 1;
                continue;
            }
            let next = Instant::now() + pause;
            tokio::time::sleep_until(until.map_or(next, |until| until.min(next)).into()).await;
            (pause, redirections) = ((pause * 2).min(PAUSE_MAX), 0);
        }
    }

    /// Whether the same command may be answered otherwise in a moment.
    fn is_passing(&self, error: &RedisError, way: Way<'_>) -> bool {
        match error.code() {
            Some("MOVED" | "ASK") => self.finder.is_cluster(),
            Some(code) => PASSING.contains(&code),
            None if error.is_connection_refusal() => !matches!(way, Way::Vote),
            None => is_lost(error),
        }
    }

    /// Sends it once.
    async fn once(&self, slot: u16, cmd: &Cmd, ask: Option<Address>, way: Way<'_>) -> Result<Value, RedisError> {
        let is_asking = ask.is_some();
        let client = match ask {
            Some(address) => self.finder.at(address)?,
            None => self.finder.find(slot).await?,
        };
        let mut connection = match way {
            Way::Shared | Way::Vote => self.shared(&client).await?,
            Way::Own(line) => {
                let own = client.get_multiplexed_async_connection_with_config(&config()).await?;
                *locked(line) = Some(own.clone());
                own
            }
        };
        if !is_asking {
            return cmd.query_async(&mut connection).await;
        }
        let mut both = redis::pipe();
        both.cmd("ASKING").ignore().add_command(cmd.clone());
        let (answer,) = both.query_async(&mut connection).await?;
        Ok(answer)
    }

    /// The connection that short commands to this server share; made once, however many want it.
    async fn shared(&self, client: &Client) -> Result<MultiplexedConnection, RedisError> {
        let cell = Arc::clone(locked(&self.shared).entry(address(client)).or_default());
        cell.get_or_try_init(|| self.connect(client)).await.cloned()
    }

    async fn connect(&self, client: &Client) -> Result<MultiplexedConnection, RedisError> {
        let changes = Arc::clone(&self.changes);
        let hear = move |push: PushInfo| {
            changes.hear(push);
            Ok::<(), ()>(())
        };
        let config = config().set_push_sender(hear);
        let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
        // Users without the right to it hear of a loss from the next renewal.
        let _: Result<(), RedisError> =
            redis::cmd("CLIENT").arg("TRACKING").arg("ON").query_async(&mut connection).await;
        Ok(connection)
    }

    /// What was known of this slot's server may be wrong.
    fn forget(&self, slot: u16) {
        match self.finder.forget(slot) {
            Some(home) => drop(locked(&self.shared).remove(&home)),
            None => locked(&self.shared).clear(),
        }
    }
}

/// How connections are made. Waiting for answers has limits of its own.
fn config() -> AsyncConnectionConfig {
    AsyncConnectionConfig::new().set_connection_timeout(Some(CONNECT)).set_response_timeout(None)
}

/// Whether a command may have been done without a word about it.
fn is_lost(error: &RedisError) -> bool {
    error.is_io_error() || error.is_connection_dropped()
}

/// `None`: it took too long.
async fn before<T>(end: Option<Instant>, work: impl Future<Output = T>) -> Option<T> {
    match end {
        Some(end) => timeout_at(end.into(), work).await.ok(),
        None => Some(work.await),
    }
}

/// The fence of LOCK.ACQUIRE's answer; `None`: it was not granted.
pub(crate) fn fence(answer: &Value) -> Result<Option<u64>, RedisError> {
    match answer {
        Value::Nil => Ok(None),
        Value::Int(fence) if *fence > 0 => Ok(Some(fence.unsigned_abs())),
        _ => Err((ErrorKind::UnexpectedReturnType, "LOCK.ACQUIRE answered no fence").into()),
    }
}

pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
