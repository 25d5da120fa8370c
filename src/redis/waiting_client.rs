//! Clients that wait in LOCK.ACQUIRE, and the answers on their way to them.

use std::rc::Rc;

use super::ffi::blocked::Blocked;
use crate::engine::{Reply, Waiting};
use crate::lock::{HoldId, Ticket};

/// A client that waits.
#[derive(Debug)]
pub struct BlockedClient(Blocked<PendingReply>);

/// An answer on its way to a client.
#[derive(Debug)]
pub struct PendingReply {
    /// The database and the name of the key that the client waited for.
    pub key: (i32, Rc<[u8]>),
    /// What the client is told.
    pub reply: Reply,
    /// Whether it was written to the client's connection.
    pub is_sent: bool,
}

/// A grant that was written to a client's connection.
#[derive(Debug)]
pub struct SentGrant {
    /// The database and the name of the lock's key.
    pub key: (i32, Rc<[u8]>),
    /// The hold that was granted.
    pub hold: HoldId,
    /// The request that it answers.
    pub ticket: Ticket,
}

impl BlockedClient {
    /// Wraps a client that was blocked.
    pub fn new(client: Blocked<PendingReply>) -> BlockedClient {
        BlockedClient(client)
    }
}

impl Waiting for BlockedClient {
    type Id = usize;

    fn id(&self) -> usize {
        self.0.id()
    }

    fn answer(self, key: (i32, Rc<[u8]>), reply: Reply) {
        self.0.answer(PendingReply { key, reply, is_sent: false });
    }

    fn abandon(self) {
        self.0.abandon();
    }
}
