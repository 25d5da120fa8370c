//! What others do to the data set and to clients: the primary's stream, operators, connections that close.
//!
//! Here only the engine's own tables follow. What is to be done about it is noted for the timer's tick.

use std::mem;

use super::inbox::Inbox;
use super::names::{KeyId, KeyRef};
use super::server::{Key, Stored, Waiting};
use super::slots::Slot;
use super::tick::Task;
use super::{Engine, Scope};
use crate::failpoints::{self, Failpoint};
use crate::lock::{HoldId, Holders, Ticket};
use crate::wire::{Change, ChangeKind};

/// What became of a value that left its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unlinked {
    /// It was a lock among those of this server: it had not left with its slot before.
    pub was_known: bool,
    /// Somebody waits there, and the key must be looked at.
    pub is_waited_for: bool,
}

impl<W: Waiting> Engine<W> {
    /// What the primary, or the AOF, says of a lock. A value of another type gives way: the stream is right.
    pub fn apply<K: Key>(&mut self, at: KeyRef, key: &mut K, news: Vec<Change>) {
        let stored = key.stored().map(|stored| (mem::replace(&mut stored.holders, Holders::Free), stored.lease));
        let is_new = stored.is_none();
        let (mut holders, lease) = stored.unwrap_or((Holders::Free, Slot::NONE));
        let (mut is_confirmed, mut is_signalled) = (false, false);
        for change in news {
            match change {
                Change::Runs(told, mode, hold) => {
                    self.fences.observe(hold.fence);
                    let before = holders.of(hold.owner.borrow()).map(|(_, mode, _)| mode);
                    is_confirmed = true;
                    // An extension gains and loses nobody the lock; a downgrade lets others in.
                    is_signalled |= told == ChangeKind::Granted || !before.is_some_and(|before| mode.satisfies(before));
                    holders.put(mode, hold);
                }
                Change::Ended(owner) => {
                    is_signalled = true;
                    if let Some((id, ..)) = holders.of(owner.borrow()) {
                        holders.remove(id);
                    }
                }
                Change::Freed => (holders, is_signalled) = (Holders::Free, true),
            }
        }
        if holders == Holders::Free {
            self.leases.remove(lease);
            key.remove();
        } else if is_new {
            key.create(Stored { holders, lease });
            self.index(at, key);
        } else {
            if let Some(stored) = key.stored() {
                stored.holders = holders;
            }
            if is_confirmed {
                key.clear_ttl();
            }
            self.index(at, key);
        }
        if is_signalled {
            key.signal_changed();
        }
    }

    /// The client behind this id is gone, or was told by the server to stop waiting: it leaves the queue at once, and is
    /// let go of. False if it does not wait: its answer is already on the way.
    pub fn leave(&mut self, client: W::Id) -> bool {
        let Some(ticket) = self.waiters.ticket(client) else { return false };
        if !failpoints::is_on(Failpoint::WaiterStays) {
            self.leave_parked(ticket);
        }
        self.waiters.abandon(ticket);
        self.stats.waits_abandoned += 1;
        true
    }

    /// The answer to this request with this hold was delivered.
    pub fn delivered(&mut self, at: KeyRef, hold: HoldId, ticket: Ticket) {
        if let Some(queue) = self.queues.get_mut(at) {
            queue.delivered(hold, ticket);
            self.queues.remove_if_idle(at);
            if self.queues.get(at).is_none() {
                self.contended.note(at, None, false);
            }
        }
        self.forget_stray(at, hold);
    }

    /// A client's connection has closed; what ends with it is noted.
    pub fn disconnected(&mut self, client: u64, inbox: &mut Inbox) {
        inbox.closed.extend(self.sessions.close(client));
    }

    /// A change of role: leases alone end what is held.
    pub fn forget_sessions(&mut self, inbox: &mut Inbox) {
        self.sessions.forget();
        inbox.closed.clear();
        self.ready.retain(|task| !task.is_close());
        self.retry.retain(|task| !task.is_close());
    }

    /// A lock's value left its key by somebody else's doing.
    pub fn unlinked(&mut self, at: KeyRef, stored: &Stored) -> Unlinked {
        let was_known = self.leases.remove(stored.lease).is_some();
        for (_, hold) in stored.holders.iter() {
            if let Some(session) = hold.session {
                self.sessions.unbind(session, at, &hold.owner);
            }
        }
        let is_waited_for = self.queues.get(at).is_some() && !failpoints::is_on(Failpoint::RemovalUnnoticed);
        Unlinked { was_known, is_waited_for }
    }

    /// All keys there are gone (FLUSHDB, FLUSHALL, a new data set); the locks somebody still waits for are noted. How many
    /// locks there were.
    pub fn flushed(&mut self, scope: Scope, inbox: &mut Inbox) -> usize {
        self.sessions.flushed(scope);
        self.forget_all_leases_that_left();
        let (dropped, mut waited_for) = match scope {
            Scope::All => (self.leases.retain(|_| false), self.queues.keys(None)),
            Scope::Db(db) => (self.leases.retain(|key| key.db() != db), self.queues.keys(Some(&[db]))),
        };
        inbox.changed.append(&mut waited_for);
        dropped
    }

    /// Every lock that somebody waits for.
    pub fn waited_for(&self) -> Vec<KeyId> {
        self.queues.keys(None)
    }

    /// Two databases changed places (SWAPDB): leases, sessions, and notes about values, go with the data; waiters stay, and
    /// their locks are noted.
    pub fn swapped(&mut self, one: i32, other: i32, inbox: &mut Inbox) {
        let tasks = self.retry.iter_mut().chain(&mut self.ready).filter_map(Task::value_key);
        let backlog = self.expired_backlog.iter_mut().map(|(key, _)| key);
        for key in self.leases.iter_mut().chain(&mut inbox.changed).chain(tasks).chain(backlog) {
            key.swap(one, other);
        }
        self.sessions.swapped(one, other);
        inbox.changed.append(&mut self.queues.keys(Some(&[one, other])));
        self.strays.swapped(&self.queues, one, other);
    }

    /// A lock was found here: whether it came by RENAME or MOVE. Then it had a deadline, and lost it.
    pub fn came(&mut self, to: KeyRef, stored: &Stored) -> bool {
        let has_moved = stored.lease != Slot::NONE && self.leases.get_mut(stored.lease).is_none();
        if has_moved {
            self.strays.moved(&self.queues, to, &stored.holders);
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
