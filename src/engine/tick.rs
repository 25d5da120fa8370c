//! The timer's tick: does what is due, what the last steps left, and what events noted.

use std::mem;

use super::agenda::{Budget, Task};
use super::entries::EntryId;
use super::inbox::Inbox;
use super::names::{KeyId, KeyRef};
use super::server::{Found, Key, Server, ServerState, Waiting, WriteCheck, WrongType};
use super::state::Engine;
use crate::failpoints::{self, Failpoint};
use crate::lock::{Hold, Loss, Millis, Steady};

/// What comes first changes with each task of a tick. Mostly it is what events noted; once in so many tasks it is a task that
/// the server refused before, a lease that ended, or an expired hold that is still to be reported. So each of them goes on,
/// however much there is of the others.
const ROUND: usize = 16;
/// The least number of tasks that a tick does, even if waits that ran out used up its budget: one of each kind.
const TASKS_MIN: usize = 4;
/// When to try again after the server refused a write, in milliseconds.
const RETRY: Millis = Millis(20);

/// How a part of a tick ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// All is done.
    Done,
    /// There is more, for the next tick.
    BudgetSpent,
    /// The server takes no writes now.
    Halted,
}

impl<W: Waiting> Engine<W> {
    /// Does what is due, as far as one tick may. Returns when the next tick is due; `None`: not before something happens.
    pub fn tick<S: Server>(&mut self, server: &mut S, inbox: &mut Inbox) -> Option<Steady> {
        let begin = server.now().steady;
        self.agenda.budget = Budget::beginning(begin);
        // Waits run out even if the server may not write, because that writes nothing.
        while !self.agenda.budget.is_spent(server) {
            let Some(ticket) = self.waits.take_timed_out(begin) else { break };
            self.leave_parked(ticket);
            self.time_out(ticket);
        }
        if self.quarantine.take_end(begin) {
            self.advance_all();
        }
        let state = server.state();
        match state {
            // This writes nothing either.
            ServerState::Writable | ServerState::Halted | ServerState::Replica => {
                self.check_queues(server);
                self.forget_departed(server);
            }
            ServerState::Loading => {}
        }
        self.check_slots(server, state);
        let progress = match state {
            ServerState::Writable => self.write(server, inbox),
            ServerState::Replica => return self.follow(server, inbox),
            ServerState::Loading | ServerState::Halted => Progress::Halted,
        };
        let (now, retry_at) = (server.now().steady, begin + RETRY);
        match progress {
            Progress::BudgetSpent => Some(now),
            Progress::Done if !self.agenda.has_retries() => self.first_deadline(),
            Progress::Done => self.first_deadline().into_iter().chain([retry_at]).min(),
            Progress::Halted => {
                let is_pending = !inbox.is_empty() || self.agenda.has_retries() || self.has_ready_work();
                let again = if is_pending { Some(retry_at) } else { self.leases.first().map(|end| end.max(retry_at)) };
                again.into_iter().chain(self.waits.first_timeout()).chain(self.next_check()).min()
            }
        }
    }

    /// On a server that may write: does all there is to do.
    fn write<S: Server>(&mut self, server: &mut S, inbox: &mut Inbox) -> Progress {
        // A clock that granted nothing need not be remembered: a server that starts leaps anyway.
        if mem::take(&mut inbox.announce_fence) && self.fences.has_granted() {
            if let Some(last) = self.fences.last() {
                server.replicate_fence(last);
            }
        }
        let mut retries = self.agenda.take_retries();
        let mut places = (0..ROUND).cycle().enumerate();
        let progress = loop {
            let Some((count, place)) = places.next() else { break Progress::BudgetSpent };
            if self.agenda.budget.is_spent(server) && count >= TASKS_MIN {
                break Progress::BudgetSpent;
            }
            let first = match place {
                // An answer that was not delivered decides whether a task that was refused can go on.
                0 if inbox.undelivered.is_empty() => retries.pop(),
                1 => self.next_lease(server),
                2 if self.report_some_expired(server) => continue,
                _ => None,
            };
            let Some(task) = first.or_else(|| self.next_task(server, inbox)).or_else(|| retries.pop()) else {
                if self.report_some_expired(server) {
                    continue;
                }
                break Progress::Done;
            };
            if !self.attempt(server, task) {
                break Progress::Halted;
            }
        };
        // The next tick tries first what this one did not come to.
        self.agenda.put_back_retries(retries);
        progress
    }

    /// Does a task, or leaves it to a later tick if the server refuses it. False if the server takes no writes at all now.
    fn attempt<S: Server>(&mut self, server: &mut S, task: Task) -> bool {
        match server.write_check(task.key().borrow()) {
            WriteCheck::Accepts => {
                if self.perform(server, &task) == Progress::Halted {
                    self.agenda.retry_later(task);
                }
            }
            WriteCheck::Foreign => {
                self.check_queue_first(task.key());
                if !self.is_done_by_looking(server, &task) {
                    if self.matters(server, task.key()) {
                        self.place_deadline(server, &task);
                        self.agenda.retry_later(task);
                    } else if let Task::Expire(_, lease) = task {
                        self.leases.remove(lease);
                    }
                }
            }
            WriteCheck::Halted => {
                self.place_deadline(server, &task);
                self.agenda.retry_later(task);
                return false;
            }
        }
        true
    }

    /// Does a task at a key of another server, if no write is needed for it. A lock that came before its slot is indexed, as a
    /// replica would. A hold whose answer could not be delivered, and that has left, is not this server's to revoke.
    fn is_done_by_looking<S: Server>(&mut self, server: &mut S, task: &Task) -> bool {
        let at = task.key().borrow();
        let Some(mut open) = server.open(at) else { return true };
        match task {
            Task::Reconcile(_) if !self.waits.has_queue(at) => {
                self.index(at, &mut open);
                self.bind_all(at, &mut open);
                true
            }
            Task::Revoke(_, hold, ticket) if open.found() != Found::Lock => {
                self.delivered(at, *hold, *ticket);
                true
            }
            Task::Reconcile(_)
            | Task::Revoke(..)
            | Task::RevokeRelocated(..)
            | Task::Close(..)
            | Task::Advance(_)
            | Task::Expire(..)
            | Task::GrantTogether(..) => false,
        }
    }

    /// A lock that came to this key is listed from now on, even if the server takes no writes for long.
    fn place_deadline<S: Server>(&mut self, server: &mut S, task: &Task) {
        let Task::Reconcile(key) = task else { return };
        if let Some(mut open) = server.open(key.borrow()) {
            self.index(key.borrow(), &mut open);
        }
    }

    /// Whether this key has a lock or a queue.
    fn matters<S: Server>(&self, server: &mut S, key: &KeyId) -> bool {
        let at = key.borrow();
        self.waits.has_queue(at) || server.open(at).is_some_and(|open| open.found() == Found::Lock)
    }

    fn next_task<S: Server>(&mut self, server: &mut S, inbox: &mut Inbox) -> Option<Task> {
        // First what was not delivered: it decides which connection a hold follows, and so what a closed one ends.
        if let Some((key, hold, ticket)) = inbox.undelivered.pop() {
            return Some(Task::Revoke(key, hold, ticket));
        }
        if let Some(key) = self.next_noted(server, inbox) {
            return Some(Task::Reconcile(key));
        }
        self.next_closed(inbox).or_else(|| self.agenda.next_ready()).or_else(|| self.next_lease(server))
    }

    /// The next lock one of whose leases has ended. Its deadline keeps its place in the table, where LOCK.LIST finds the lock.
    fn next_lease<S: Server>(&mut self, server: &S) -> Option<Task> {
        let now = server.now().steady;
        let due = if failpoints::is_on(Failpoint::LeaseEndsLate) { Steady(now.0 - 500_000) } else { now };
        self.leases.hand_out_due(due).map(|(lease, key)| Task::Expire(key.clone(), lease))
    }

    /// The next hold that ends because its connection has closed.
    fn next_closed(&mut self, inbox: &mut Inbox) -> Option<Task> {
        loop {
            let session = *inbox.closed.last()?;
            if let Some((key, owner)) = self.sessions.take(session) {
                return Some(Task::Close(key, owner, session));
            }
            inbox.closed.pop();
        }
    }

    /// The next key that events noted.
    fn next_noted<S: Server>(&mut self, server: &mut S, inbox: &mut Inbox) -> Option<KeyId> {
        if let Some((key, lease)) = inbox.unlinked.pop() {
            self.leases.remove(lease);
            return Some(key);
        }
        while inbox.changed.is_empty() {
            let name = inbox.unplaced.pop()?;
            self.agenda.budget.charge_steps(1);
            inbox.changed.extend(locks_named(server, &name));
        }
        inbox.take_changed()
    }

    /// Does a task. [`Progress::Halted`] if it must be tried again.
    fn perform<S: Server>(&mut self, server: &mut S, task: &Task) -> Progress {
        if let Task::GrantTogether(_, ticket) = task {
            let is_done = self.grant_together(server, *ticket);
            return if is_done { Progress::Done } else { Progress::Halted };
        }
        let at = task.key().borrow();
        let now = server.now();
        let Some(mut key) = server.open(at) else {
            if let Task::Expire(_, lease) = task {
                self.leases.remove(*lease);
            }
            return Progress::Done;
        };
        let mut is_missing = false;
        let is_done = self.step(at, &mut key, now, |step| {
            match task {
                Task::Revoke(_, hold, ticket) => is_missing = !step.undelivered(*hold, *ticket),
                Task::RevokeRelocated(_, hold) => step.revoke(*hold),
                Task::Close(_, owner, session) => return step.close(owner.borrow(), *session),
                Task::Reconcile(_) => step.reconcile(),
                Task::Advance(_) | Task::Expire(..) | Task::GrantTogether(..) => step.advance(),
            }
            true
        });
        if let (Err(WrongType), Task::Revoke(_, hold, ticket)) = (is_done, task) {
            is_missing = self.waits.undelivered(at, *hold, *ticket) == Loss::LastHope;
        }
        // If the key holds another type, nobody waits for it any more, and nothing else is to be done.
        let progress = if is_done == Ok(false) { Progress::Halted } else { Progress::Done };
        self.events.file_under(task.key());
        self.index(at, &mut key);
        match task {
            Task::Reconcile(_) => self.bind_all(at, &mut key),
            Task::Revoke(_, hold, _) => {
                let place = self.relocated.forget(&self.waits, at, *hold).filter(|_| is_missing);
                if let Some(place) = place {
                    self.agenda.push(Task::RevokeRelocated(place, *hold));
                }
            }
            Task::Expire(_, lease) => self.drop_stray(*lease, &mut key),
            Task::RevokeRelocated(..) | Task::Close(..) | Task::Advance(_) | Task::GrantTogether(..) => {}
        }
        progress
    }

    /// A deadline that was handed out is this lock's, or nobody's: the lock may have left without a word, with its slot.
    fn drop_stray<K: Key>(&mut self, lease: EntryId, key: &mut K) {
        if key.stored().is_none_or(|stored| stored.lease != lease) {
            self.leases.remove(lease);
        }
    }

    /// Counts and reports some of the holds that had expired and made room. False if there are none. Nobody waits for that and
    /// nothing is written by it, so it comes after everything else, and it does not matter whether the server would accept a
    /// write to the key.
    fn report_some_expired<S: Server>(&mut self, server: &mut S) -> bool {
        let Some((key, mut holds)) = self.agenda.take_expired() else { return false };
        let now = server.now();
        if let Some(mut open) = server.open(key.borrow()) {
            self.report_expired(key.borrow(), &mut open, now, &mut holds);
        }
        self.events.file_under(&key);
        if holds.len() > 0 {
            self.agenda.put_back_expired(key, holds);
        }
        true
    }

    /// Holds that came to this key by RENAME or MOVE are still bound to their connections.
    fn bind_all<K: Key>(&mut self, at: KeyRef, key: &mut K) {
        let Some(stored) = key.stored() else { return };
        let bound = |(_, hold): (_, &Hold)| Some((hold.owner.clone(), hold.session?));
        for (owner, session) in stored.holders.iter().filter_map(bound) {
            self.bind_session(at, &owner, session);
        }
    }

    /// On a replica: keeps the deadlines right for the day it is promoted, and writes nothing. The server itself answers those
    /// who waited when it was demoted; but not in a cluster of Valkey 9, where only the queue check redirects them.
    fn follow<S: Server>(&mut self, server: &mut S, inbox: &mut Inbox) -> Option<Steady> {
        inbox.announce_fence = false;
        for task in self.agenda.take_tasks() {
            match task {
                Task::Revoke(key, hold, ticket) => inbox.undelivered.push((key, hold, ticket)),
                Task::Reconcile(key) | Task::Advance(key) => inbox.changed.push(key),
                Task::GrantTogether(key, ticket) => {
                    self.waits.watch_again(ticket);
                    inbox.changed.push(key);
                }
                Task::Expire(key, lease) => match server.open(key.borrow()) {
                    Some(mut open) => {
                        self.index(key.borrow(), &mut open);
                        self.drop_stray(lease, &mut open);
                    }
                    None => {
                        self.leases.remove(lease);
                    }
                },
                // The hold is the primary's now.
                Task::RevokeRelocated(..) => {}
                // The lease alone ends it now.
                Task::Close(..) => {}
            }
        }
        inbox.closed.clear();
        for (key, hold, ticket) in inbox.undelivered.drain(..) {
            // The hold is the primary's now.
            self.delivered(key.borrow(), hold, ticket);
        }
        while !self.agenda.budget.is_spent(server) {
            // The primary ends the leases.
            let Some(key) = self.next_noted(server, inbox) else {
                // These ended while this server was the primary.
                if self.report_some_expired(server) {
                    continue;
                }
                let check = self.next_queue_check().into_iter().chain(self.cluster.departures.due());
                return self.waits.first_timeout().into_iter().chain(check).min();
            };
            let open = server.open(key.borrow());
            if let Some(mut open) = open {
                self.index(key.borrow(), &mut open);
            }
        }
        Some(server.now().steady)
    }
}

/// The locks of this name, in all databases.
pub(super) fn locks_named<S: Server>(server: &mut S, name: &[u8]) -> Vec<KeyId> {
    let found = (0..).map_while(|db| server.open(KeyRef { db, name }).map(|open| (db, open.found())));
    let locks = found.filter(|(_, found)| *found == Found::Lock);
    locks.map(|(db, _)| KeyRef { db, name }.to_id()).collect()
}
