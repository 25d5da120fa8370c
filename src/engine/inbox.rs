//! What events note for the next tick.
//!
//! Redis reports a vanished key, a lost client or a loaded value in the middle of something else: a command, a transaction, a
//! script, a pause. A write at that moment would be replicated in the wrong order, or abort the server. So events only put a
//! note here and ask for a tick of the timer, which is the sole writer outside commands.

use super::entries::EntryId;
use super::names::KeyId;
use crate::lock::{HoldId, Session, Ticket};

/// Notes for the next tick.
#[derive(Debug, Default)]
pub struct Inbox {
    /// Keys that lost a lock's value while somebody waited there or the engine was busy, each with the lock's deadline.
    pub unlinked: Vec<(KeyId, EntryId)>,
    /// Keys that something put a value into. The next tick looks at them.
    pub changed: Vec<KeyId>,
    /// LOCK.LIST has put the deadlines of the locks at the first keys of `changed` in place: at so many keys.
    placed: usize,
    /// Names of keys that something put a value into, in a database that the server does not tell. The next tick looks at
    /// these names in all databases.
    pub unplaced: Vec<Box<[u8]>>,
    /// Answers that could not be delivered: the key, the hold that they told of, and the ticket of the request.
    pub undelivered: Vec<(KeyId, HoldId, Ticket)>,
    /// The sessions of connections that closed. Their holds are to end.
    pub closed: Vec<Session>,
    /// Whether replicas and the AOF are to be told how far the fence clock has come.
    pub announce_fence: bool,
}

impl Inbox {
    /// An inbox without notes.
    pub const fn new() -> Inbox {
        Inbox {
            unlinked: Vec::new(),
            changed: Vec::new(),
            placed: 0,
            unplaced: Vec::new(),
            undelivered: Vec::new(),
            closed: Vec::new(),
            announce_fence: false,
        }
    }

    /// Whether there are no notes.
    pub fn is_empty(&self) -> bool {
        self.unlinked.is_empty()
            && self.changed.is_empty()
            && self.unplaced.is_empty()
            && self.undelivered.is_empty()
            && self.closed.is_empty()
            && !self.announce_fence
    }

    /// Takes the key out of `changed` that came last.
    pub fn take_changed(&mut self) -> Option<KeyId> {
        let key = self.changed.pop();
        self.placed = self.placed.min(self.changed.len());
        key
    }

    /// The next key in `changed` whose lock has no deadline yet that [`Inbox::placed`] told of.
    pub fn next_to_place(&self) -> Option<&KeyId> {
        self.changed.get(self.placed)
    }

    /// The deadline of the lock at [`Inbox::next_to_place`], if there is a lock, is in place.
    pub fn placed(&mut self) {
        self.placed += 1;
    }

    /// Every key that a note names.
    #[cfg(any(test, fuzzing))]
    pub fn keys(&self) -> impl Iterator<Item = &KeyId> {
        let unlinked = self.unlinked.iter().map(|(key, _)| key);
        unlinked.chain(&self.changed).chain(self.undelivered.iter().map(|(key, ..)| key))
    }

    /// Adds notes that came later.
    pub fn append(&mut self, mut later: Inbox) {
        self.unlinked.append(&mut later.unlinked);
        self.changed.append(&mut later.changed);
        self.unplaced.append(&mut later.unplaced);
        self.undelivered.append(&mut later.undelivered);
        self.closed.append(&mut later.closed);
        self.announce_fence |= later.announce_fence;
    }
}
