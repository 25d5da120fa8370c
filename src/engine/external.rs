//! What happens outside the engine: operators change the data set, connections close, the server changes its role.
//!
//! Here only the engine's own tables follow. What is to be done about it is noted for the timer's tick.

use super::entries::EntryId;
use super::inbox::Inbox;
use super::names::{KeyRef, Scope};
use super::server::{Stored, Waiting};
use super::state::Engine;
use crate::failpoints::{self, Failpoint};
use crate::lock::{HoldId, Holders, Ticket};

/// What became of a value that left its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unlinked {
    /// It was a lock among those of this server: it had not left with its slot before.
    pub was_known: bool,
    /// Somebody waits there, and the key must be looked at.
    pub is_waited_for: bool,
}

impl<W: Waiting> Engine<W> {
    /// The client behind this id is gone, or was told by the server to stop waiting: it leaves the queue at once, and is
    /// let go of. False if it does not wait: its answer is already on the way.
    pub fn leave(&mut self, client: W::Id) -> bool {
        let Some(ticket) = self.waits.ticket(client) else { return false };
        if !failpoints::is_on(Failpoint::WaiterStays) {
            self.leave_parked(ticket);
        }
        self.waits.abandon(ticket);
        self.stats.waits_abandoned += 1;
        true
    }

    /// The answer to this request with this hold was delivered.
    pub fn delivered(&mut self, at: KeyRef, hold: HoldId, ticket: Ticket) {
        self.waits.delivered(at, hold, ticket);
        self.relocated.forget(&self.waits, at, hold);
    }

    /// A client's connection has closed; what ends with it is noted.
    pub fn disconnected(&mut self, client: u64, inbox: &mut Inbox) {
        inbox.closed.extend(self.sessions.close(client));
    }

    /// A change of role: leases alone end what is held.
    pub fn forget_sessions(&mut self, inbox: &mut Inbox) {
        self.sessions.forget();
        inbox.closed.clear();
        self.agenda.forget_closes();
    }

    /// A lock's value left its key by somebody else's doing.
    pub fn unlinked(&mut self, at: KeyRef, stored: &Stored) -> Unlinked {
        let was_known = self.leases.remove(stored.lease).is_some();
        for (_, hold) in stored.holders.iter() {
            if let Some(session) = hold.session {
                self.sessions.unbind(session, at, &hold.owner);
            }
        }
        let is_waited_for = self.waits.has_queue(at) && !failpoints::is_on(Failpoint::RemovalUnnoticed);
        Unlinked { was_known, is_waited_for }
    }

    /// All keys there are gone (FLUSHDB, FLUSHALL, a new data set); the locks somebody still waits for are noted. How many
    /// locks there were.
    pub fn flushed(&mut self, scope: Scope, inbox: &mut Inbox) -> usize {
        self.sessions.flushed(scope);
        self.forget_all_departed_leases();
        let (dropped, mut waited_for) = match scope {
            Scope::All => (self.leases.retain(|_| false), self.waits.keys(None)),
            Scope::Db(db) => (self.leases.retain(|key| key.db() != db), self.waits.keys(Some(&[db]))),
        };
        inbox.changed.append(&mut waited_for);
        dropped
    }

    /// Two databases changed places (SWAPDB): leases, sessions, and notes about values, go with the data; waiters stay, and
    /// their locks are noted.
    pub fn swapped(&mut self, one: i32, other: i32, inbox: &mut Inbox) {
        for key in self.leases.iter_mut().chain(&mut inbox.changed) {
            key.swap(one, other);
        }
        self.agenda.swap(one, other);
        self.sessions.swapped(one, other);
        inbox.changed.append(&mut self.waits.keys(Some(&[one, other])));
        self.relocated.swapped(&self.waits, one, other);
    }

    /// A lock was found here: whether it came by RENAME or MOVE. Then it had a deadline, and lost it.
    pub fn moved_here(&mut self, to: KeyRef, stored: &Stored) -> bool {
        let has_moved = stored.lease != EntryId::NONE && self.leases.get_mut(stored.lease).is_none();
        if has_moved {
            self.relocated.moved(&self.waits, to, &stored.holders);
        }
        has_moved
    }

    /// A lock was read from RDB, RESTORE or MIGRATE. Its fence may be another server's, ahead of this one's clock.
    pub fn loaded(&mut self, holders: &Holders) {
        for (_, hold) in holders.iter() {
            self.fences.observe(hold.fence);
        }
    }
}
