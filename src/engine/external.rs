//! What happens outside the engine: operators change the data set, connections close, the server changes its role.
//!
//! The functions here only bring the engine's own tables up to date. They note everything else for the timer's tick.

use super::entries::EntryId;
use super::inbox::Inbox;
use super::names::{KeyRef, Scope};
use super::server::{Stored, Waiting};
use super::state::Engine;
use crate::failpoints::{self, Failpoint};
use crate::lock::{HoldId, Holders, Ticket};

/// What the engine knew of a lock whose value left its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unlinked {
    /// The lock was one of this server's. If not, it had left with its slot before.
    pub was_known: bool,
    /// Somebody waits for it, so the key must be noted.
    pub is_waited_for: bool,
}

impl<W: Waiting> Engine<W> {
    /// The client with this id is gone, or the server told it to stop waiting. It leaves the queue at once and is abandoned.
    /// False if it does not wait: its answer is in flight already.
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

    /// A client's connection has closed. The holds that are bound to it are noted.
    pub fn disconnected(&mut self, client: u64, inbox: &mut Inbox) {
        inbox.closed.extend(self.sessions.close(client));
    }

    /// A change of role: from now on the leases alone end what is held.
    pub fn forget_sessions(&mut self, inbox: &mut Inbox) {
        self.sessions.forget();
        inbox.closed.clear();
        self.agenda.forget_closes();
    }

    /// A lock's value left its key, and the engine did not remove it.
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

    /// All keys of these databases are gone (FLUSHDB, FLUSHALL, a new data set). The locks that somebody still waits for are
    /// noted. Returns the number of locks that were there.
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

    /// Two databases changed places (SWAPDB). Leases, sessions and notes about values go with the data. Waiters stay, and the
    /// locks that they wait for are noted.
    pub fn swapped(&mut self, one: i32, other: i32, inbox: &mut Inbox) {
        for key in self.leases.iter_mut().chain(&mut inbox.changed) {
            key.swap(one, other);
        }
        self.agenda.swap(one, other);
        self.sessions.swapped(one, other);
        inbox.changed.append(&mut self.waits.keys(Some(&[one, other])));
        self.relocated.swapped(&self.waits, one, other);
    }

    /// A lock was found in this key. True if it came by RENAME or MOVE: then it had a deadline, and lost it when it left its
    /// old key.
    pub fn moved_here(&mut self, to: KeyRef, stored: &Stored) -> bool {
        let has_moved = stored.lease != EntryId::NONE && self.leases.get_mut(stored.lease).is_none();
        if has_moved {
            self.relocated.moved(&self.waits, to, &stored.holders);
        }
        has_moved
    }

    /// A lock was read from RDB, RESTORE or MIGRATE. Its fences may come from another server, ahead of this one's fence clock.
    pub fn loaded(&mut self, holders: &Holders) {
        for (_, hold) in holders.iter() {
            self.fences.observe(hold.fence);
        }
    }
}
