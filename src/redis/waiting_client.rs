//! Clients that wait in LOCK.ACQUIRE, and the answers on their way to them.

use std::rc::Rc;

use super::ffi::blocked::Blocked;
use crate::engine::{Reply, Waiting};
use crate::lock::{HoldId, Ticket};

/// A client that waits.
#[derive(Debug)]
pub struct BlockedClient {
    blocked: Blocked<PendingReply>,
    /// Its id as CLIENT LIST shows it.
    number: u64,
}

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
    /// Wraps a client that was blocked, with its id as CLIENT LIST shows it.
    pub fn new(blocked: Blocked<PendingReply>, number: u64) -> BlockedClient {
        BlockedClient { blocked, number }
    }
}

impl Waiting for BlockedClient {
    type Id = usize;

    fn id(&self) -> usize {
        self.blocked.id()
    }

    fn number(&self) -> u64 {
        self.number
    }

    fn answer(self, key: (i32, Rc<[u8]>), reply: Reply) {
        self.blocked.answer(PendingReply { key, reply, is_sent: false });
    }

    fn abandon(self) {
        self.blocked.abandon();
    }
}
