//! One connection to a server.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use redis::aio::MultiplexedConnection;
use redis::{Cmd, RedisError, Value};
use tokio_util::sync::CancellationToken;

use crate::error::{Failure, ServerError};
use crate::reply::check_value;
use crate::sync::lock;

/// One connection, over which any number of commands can be under way.
pub(crate) struct Link {
    /// `None` once the connection is given up.
    wire: Mutex<Option<Wire>>,
    broken: CancellationToken,
    /// How many replies have come.
    replies: AtomicU64,
}

/// What carries commands and replies.
#[derive(Clone)]
pub(crate) enum Wire {
    Redis(MultiplexedConnection),
    #[cfg(feature = "memory")]
    Memory(crate::memory::Connection),
}

impl Link {
    /// A connection that is open. `broken` is cancelled when it ends.
    pub fn new(wire: Wire, broken: CancellationToken) -> Arc<Link> {
        Arc::new(Link { wire: Mutex::new(Some(wire)), broken, replies: AtomicU64::new(0) })
    }

    /// Sends a command, and returns its reply whenever that comes. Fails if the connection ends or is given up.
    ///
    /// If the future is dropped, the command may have been sent or not. Commands are sent in the order in which their
    /// futures are first polled.
    pub async fn send(&self, cmd: &Cmd) -> Result<Value, Failure> {
        self.until_broken(async |mut wire| match &mut wire {
            Wire::Redis(connection) => connection.send_packed_command(cmd).await.map_err(failure_of),
            #[cfg(feature = "memory")]
            Wire::Memory(connection) => connection.send(cmd).await,
        })
        .await
    }

    /// Sends a command to a node that is importing the slot of its key.
    pub async fn send_asking(&self, cmd: &Cmd) -> Result<Value, Failure> {
        self.until_broken(async |mut wire| match &mut wire {
            Wire::Redis(connection) => {
                let mut pipeline = redis::pipe();
                pipeline.cmd("ASKING").add_command(cmd.clone());
                let replies = connection.send_packed_commands(&pipeline, 0, 2).await.map_err(failure_of)?;
                Ok(replies.into_iter().next_back().unwrap_or(Value::Nil))
            }
            #[cfg(feature = "memory")]
            Wire::Memory(connection) => connection.send(cmd).await,
        })
        .await
    }

    /// Gives the connection up: it is closed, and every command that has no reply yet fails.
    pub fn break_up(&self) {
        lock(&self.wire).take();
        self.broken.cancel();
    }

    pub fn is_broken(&self) -> bool {
        self.broken.is_cancelled()
    }

    /// Returns when the connection has ended.
    pub async fn broken(&self) {
        self.broken.cancelled().await;
    }

    /// How many replies have come so far.
    pub fn replies(&self) -> u64 {
        self.replies.load(Ordering::Relaxed)
    }

    async fn until_broken(&self, send: impl AsyncFnOnce(Wire) -> Result<Value, Failure>) -> Result<Value, Failure> {
        let lost = || Failure::Lost("the connection to the server was lost".to_owned());
        let wire = lock(&self.wire).clone().filter(|_| !self.is_broken()).ok_or_else(lost)?;
        let reply = tokio::select! {
            biased;
            reply = send(wire) => reply,
            () = self.broken.cancelled() => return Err(lost()),
        };
        match reply {
            Ok(value) => {
                self.replies.fetch_add(1, Ordering::Relaxed);
                check_value(value)
            }
            Err(failure) => {
                if let Failure::Lost(_) = failure {
                    self.break_up();
                }
                Err(failure)
            }
        }
    }
}

/// What an error of the redis crate means for a command that may have been sent.
fn failure_of(error: RedisError) -> Failure {
    match error.code() {
        Some(code) => Failure::Reply(ServerError::new(code, error.detail())),
        None => Failure::Lost(format!("the connection to the server was lost: {error}")),
    }
}

/// What an error of the redis crate means if no connection could be opened.
pub(crate) fn connect_failure_of(error: RedisError, server: &str) -> Failure {
    match error.code() {
        Some(code) => Failure::Reply(ServerError::new(code, error.detail())),
        None => Failure::Unsent(format!("no connection to {server}: {error}")),
    }
}
