//! What events leave for the next turn.
//!
//! Redis reports a vanished key, a lost client, a loaded value in the middle of something else: a command, a transaction,
//! a script, a pause. Writing there replicates in the wrong order or aborts the server. So events only put a note here
//! and ask for a tick of the timer, which is the sole writer outside commands.

use super::entries::EntryId;
use super::names::KeyId;
use crate::lock::{HoldId, Session, Ticket};

/// Notes for the next turn.
#[derive(Debug, Default)]
pub struct Inbox {
    /// Keys a lock's value was taken out of while somebody waited there, or while the engine was busy; with its deadline.
    pub unlinked: Vec<(KeyId, EntryId)>,
    /// Keys to look at: something put a value there.
    pub changed: Vec<KeyId>,
    /// The same where the server does not tell the database: all are looked at.
    pub unplaced: Vec<Box<[u8]>>,
    /// Grants one of whose answers found nobody.
    pub undelivered: Vec<(KeyId, HoldId, Ticket)>,
    /// The sessions of connections that closed, whose holds are to end.
    pub closed: Vec<Session>,
    /// Whether replicas and AOF should be told how far the fence clock has come.
    pub announce_fence: bool,
}

impl Inbox {
    /// Empty.
    pub const fn new() -> Inbox {
        Inbox {
            unlinked: Vec::new(),
            changed: Vec::new(),
            unplaced: Vec::new(),
            undelivered: Vec::new(),
            closed: Vec::new(),
            announce_fence: false,
        }
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.unlinked.is_empty()
            && self.changed.is_empty()
            && self.unplaced.is_empty()
            && self.undelivered.is_empty()
            && self.closed.is_empty()
            && !self.announce_fence
    }

    /// Every key that a note names.
    #[cfg(any(test, fuzzing))]
    pub fn keys(&self) -> impl Iterator<Item = &KeyId> {
        let unlinked = self.unlinked.iter().map(|(key, _)| key);
        unlinked.chain(&self.changed).chain(self.undelivered.iter().map(|(key, ..)| key))
    }

    /// Takes the notes that came later in.
    pub fn append(&mut self, mut later: Inbox) {
        self.unlinked.append(&mut later.unlinked);
        self.changed.append(&mut later.changed);
        self.unplaced.append(&mut later.unplaced);
        self.undelivered.append(&mut later.undelivered);
        self.closed.append(&mut later.closed);
        self.announce_fence |= later.announce_fence;
    }
}
