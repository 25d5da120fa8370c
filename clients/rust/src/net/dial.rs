//! Opening a connection.

use std::sync::Arc;
use std::time::Duration;

use redis::{AsyncConnectionConfig, Client, ConnectionInfo, PushInfo, PushKind};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::address::{at_address, Address};
use super::events::{event_of, Events};
use super::link::{connect_failure_of, Link, Wire};
use crate::core::{trace, Core};
use crate::error::Failure;

/// Opens connections to servers of one kind.
#[derive(Clone)]
pub(crate) struct Dialer {
    pub core: Arc<Core>,
    pub target: Target,
    /// Who is told of changes that a server reports on a shared connection; nobody for Sentinels.
    pub events: Option<Events>,
}

/// What is dialled.
#[derive(Clone)]
pub(crate) enum Target {
    /// A server with the user, password, database and TLS of this description.
    Redis(Box<ConnectionInfo>),
    #[cfg(feature = "memory")]
    Memory(crate::memory::Server),
}

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Short commands of everybody. The server reports changes of locks on it.
    Shared,
    /// One wait.
    Wait,
}

impl Dialer {
    /// Opens a connection, or gives up after `limit`.
    pub async fn dial(&self, address: &Address, purpose: Purpose, limit: Duration) -> Result<Arc<Link>, Failure> {
        let opened = match timeout(limit, self.open(address, purpose)).await {
            Ok(opened) => opened,
            Err(_) => Err(Failure::Unsent(format!("no connection to {} within {limit:?}", shown(address)))),
        };
        match &opened {
            Ok(_) => {
                self.core.counters.connections_opened.add_one();
                trace!(DEBUG, server = %shown(address), ?purpose, "opened a connection");
            }
            Err(_failure) => {
                self.core.counters.connections_failed.add_one();
                trace!(DEBUG, server = %shown(address), failure = ?_failure, "could not open a connection");
            }
        }
        opened
    }

    async fn open(&self, address: &Address, purpose: Purpose) -> Result<Arc<Link>, Failure> {
        let broken = CancellationToken::new();
        let (token, events) = (broken.clone(), self.events.clone().filter(|_| purpose == Purpose::Shared));
        let handle_push = move |push: PushInfo| {
            let is_end = push.kind == PushKind::Disconnection;
            if let (Some(events), Some(event)) = (&events, event_of(push)) {
                events.publish(event);
            }
            if is_end {
                token.cancel();
            }
            Ok::<(), ()>(())
        };
        match &self.target {
            Target::Redis(template) => {
                let failure = |error| connect_failure_of(error, &shown(address));
                let client = Client::open(at_address(template, address.clone())).map_err(failure)?;
                // Neither has a time limit here, because `dial` and each command set their own.
                let config = AsyncConnectionConfig::new()
                    .set_connection_timeout(None)
                    .set_response_timeout(None)
                    .set_push_sender(handle_push);
                let mut connection =
                    client.get_multiplexed_async_connection_with_config(&config).await.map_err(failure)?;
                let mut pipeline = redis::pipe();
                pipeline.cmd("CLIENT").arg("SETNAME").arg(self.core.identity.process());
                if purpose == Purpose::Shared && self.events.is_some() {
                    pipeline.cmd("CLIENT").arg("TRACKING").arg("ON");
                }
                let count = pipeline.len();
                // A user without the right to these commands has no name, and learns of a loss from the next renewal.
                // The replies are read raw, so an error reply is no failure.
                connection.send_packed_commands(&pipeline, 0, count).await.map_err(failure)?;
                Ok(Link::new(Wire::Redis(connection), broken))
            }
            #[cfg(feature = "memory")]
            Target::Memory(server) => Ok(Link::new(Wire::Memory(server.connect(handle_push)), broken)),
        }
    }
}

/// An address as people write it.
pub(crate) fn shown((host, port): &Address) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}
