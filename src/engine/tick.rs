//! The timer's tick: what ended, what ran out, and what events left behind.

use std::mem;

use super::inbox::Inbox;
use super::names::{KeyId, KeyRef};
use super::server::{Found, Key, Server, ServerState, Waiting, WriteCheck};
use super::{sessions, Engine};
use crate::failpoints::{self, Failpoint};
use crate::lock::{Hold, HoldId, Millis, Owner, Session, Steady, Ticket};

/// How long one turn may take before the event loop gets its chance, in milliseconds.
const SLICE: Millis = Millis(2);
/// How often the clock is read within a slice: once for so many locks and changes of locks.
const STEPS_PER_READING: usize = 16;
/// How many clients a slice answers at most. The server hands the answers over afterwards, which takes it some 10 us each.
const ANSWERS_MAX: usize = 128;
/// What comes first changes with each task of a slice: mostly what events left, and once in so many tasks what was put off,
/// what leases ended, and what is still to be told. So each of them goes on, however much there is of the others.
const TURNS: usize = 16;
/// How many tasks a slice does at least, also if waits that ran out filled it: one of each kind.
const TURNS_LEAST: usize = 4;
/// When to look again after the server would not let a turn write, in milliseconds.
const RETRY: Millis = Millis(20);

/// One key's turn that is due.
#[derive(Debug)]
pub enum Task {
    /// This answer with this hold found nobody.
    Revoke(KeyId, HoldId, Ticket),
    /// End what ends with a connection that closed.
    Close(KeyId, Owner, Session),
    /// This hold came here from another key, and the answer with it found nobody.
    RevokeStray(KeyId, HoldId),
    /// Somebody else changed what the key holds: bring queue and deadlines in step with it.
    Reconcile(KeyId),
    /// End what is over, serve the queue.
    Advance(KeyId),
}

impl Task {
    fn key(&self) -> &KeyId {
        match self {
            Task::Revoke(key, ..)
            | Task::RevokeStray(key, _)
            | Task::Close(key, ..)
            | Task::Reconcile(key)
            | Task::Advance(key) => key,
        }
    }

    /// The key, if the task is about the value there; what is about waiters stays where they wait.
    pub fn value_key(&mut self) -> Option<&mut KeyId> {
        match self {
            Task::RevokeStray(key, _) | Task::Close(key, ..) | Task::Reconcile(key) | Task::Advance(key) => Some(key),
            Task::Revoke(..) => None,
        }
    }

    /// Whether it ends what a connection held.
    pub fn is_close(&self) -> bool {
        match self {
            Task::Close(..) => true,
            Task::Revoke(..) | Task::RevokeStray(..) | Task::Reconcile(_) | Task::Advance(_) => false,
        }
    }
}

/// How far a turn came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    Done,
    BudgetSpent,
    Halted,
}

/// What turns cost.
#[derive(Clone, Copy, Debug, Default)]
pub struct Spent {
    /// Locks that were looked at, and changes of locks.
    pub steps: usize,
    /// Clients that were answered.
    pub answers: usize,
}

/// A slice of time, and how much of it is left.
pub struct Budget {
    end: Steady,
    steps: usize,
    answers: usize,
    is_spent: bool,
}

impl Budget {
    /// Takes in what was spent. True if no more may be.
    pub fn is_spent<S: Server>(&mut self, server: &S, spent: &mut Spent) -> bool {
        let Spent { steps, answers } = mem::take(spent);
        self.steps += 1 + steps;
        self.answers += answers;
        if self.steps >= STEPS_PER_READING {
            self.steps = 0;
            self.is_spent |= server.now().steady >= self.end;
        }
        self.is_spent |= self.answers >= ANSWERS_MAX;
        self.is_spent
    }
}

impl<W: Waiting> Engine<W> {
    /// Does what is due, a slice at most. Returns when to come again; `None`: not before something happens.
    pub fn tick<S: Server>(&mut self, server: &mut S, inbox: &mut Inbox) -> Option<Steady> {
        let begin = server.now().steady;
        let mut budget = Budget { end: begin + SLICE, steps: 0, answers: 0, is_spent: false };
        self.spent = Spent::default();
        // Waits run out whatever the server may do: nothing is written by it.
        while !budget.is_spent(server, &mut self.spent) {
            let Some(ticket) = self.waiters.take_due(begin) else { break };
            self.leave_parked(ticket);
            self.time_out(ticket);
        }
        let state = server.state();
        match state {
            // Nothing is written by this either.
            ServerState::Writable | ServerState::Halted | ServerState::Replica => {
                self.check_queues(server, &mut budget);
                self.see_off(server, &mut budget);
            }
            ServerState::Loading => {}
        }
        self.check_slots(server, state);
        let progress = match state {
            ServerState::Writable => self.write(server, inbox, &mut budget),
            ServerState::Replica => return self.follow(server, inbox, &mut budget),
            ServerState::Loading | ServerState::Halted => Progress::Halted,
        };
        let (now, retry_at) = (server.now().steady, begin + RETRY);
        match progress {
            Progress::BudgetSpent => Some(now),
            Progress::Done if self.retry.is_empty() => self.first_deadline(),
            Progress::Done => self.first_deadline().into_iter().chain([retry_at]).min(),
            Progress::Halted => {
                let pending = !(inbox.is_empty() && self.retry.is_empty()) || self.is_pressed();
                let again = if pending { Some(retry_at) } else { self.leases.first().map(|end| end.max(retry_at)) };
                again.into_iter().chain(self.waiters.first_timeout()).chain(self.next_check()).min()
            }
        }
    }

    /// On a server that may write: whatever there is to do.
    fn write<S: Server>(&mut self, server: &mut S, inbox: &mut Inbox, budget: &mut Budget) -> Progress {
        // A clock that nobody drew from need not be remembered: whoever starts leaps anyway.
        if mem::take(&mut inbox.announce_fence) && self.fences.has_granted() {
            if let Some(last) = self.fences.last() {
                server.replicate_fence(last);
            }
        }
        let mut put_off = mem::take(&mut self.retry);
        let mut turns = (0..TURNS).cycle().enumerate();
        let progress = loop {
            let Some((count, turn)) = turns.next() else { break Progress::BudgetSpent };
            if budget.is_spent(server, &mut self.spent) && count >= TURNS_LEAST {
                break Progress::BudgetSpent;
            }
            let first = match turn {
                // What was not delivered decides whether what was put off can go on.
                0 if inbox.undelivered.is_empty() => put_off.pop(),
                1 => self.next_lease(server),
                2 if self.tell_some(server) => continue,
                _ => None,
            };
            let Some(task) = first.or_else(|| self.next_task(server, inbox)).or_else(|| put_off.pop()) else {
                if self.tell_some(server) {
                    continue;
                }
                break Progress::Done;
            };
            if !self.attempt(server, task) {
                break Progress::Halted;
            }
        };
        // Those that had no turn have the first ones of the next slice.
        self.retry.append(&mut put_off);
        progress
    }

    /// Does a task, or puts it off. False if the server takes no writes at all now.
    fn attempt<S: Server>(&mut self, server: &mut S, task: Task) -> bool {
        match server.write_check(task.key().borrow()) {
            WriteCheck::Accepts => {
                if self.perform(server, &task) == Progress::Halted {
                    self.retry.push(task);
                }
            }
            WriteCheck::Foreign => {
                self.check_queue_first(task.key());
                if !self.is_seen(server, &task) && self.matters(server, task.key()) {
                    self.retry.push(task);
                }
            }
            WriteCheck::Halted => {
                self.retry.push(task);
                return false;
            }
        }
        true
    }

    /// Whether this is all there is to do at a key of another server. A lock that came in before its slot is looked at, as a
    /// replica would. A hold that nobody was told of, and that is not here any more, is not this server's to take back.
    fn is_seen<S: Server>(&mut self, server: &mut S, task: &Task) -> bool {
        let at = task.key().borrow();
        let Some(mut open) = server.open(at) else { return true };
        match task {
            Task::Reconcile(_) if self.queues.get(at).is_none() => {
                self.index(at, &mut open);
                self.bind_all(at, &mut open);
                true
            }
            Task::Revoke(_, hold, ticket) if open.found() != Found::Lock => {
                self.delivered(at, *hold, *ticket);
                true
            }
            Task::Reconcile(_) | Task::Revoke(..) | Task::RevokeStray(..) | Task::Close(..) | Task::Advance(_) => false,
        }
    }

    /// Whether there is anything at this key, or anybody waiting for it.
    fn matters<S: Server>(&mut self, server: &mut S, key: &KeyId) -> bool {
        let at = key.borrow();
        self.queues.get_mut(at).is_some() || server.open(at).is_some_and(|open| open.found() == Found::Lock)
    }

    fn next_task<S: Server>(&mut self, server: &mut S, inbox: &mut Inbox) -> Option<Task> {
        // First what was not delivered: it decides whom a hold follows, and so what a closed connection ends.
        if let Some((key, hold, ticket)) = inbox.undelivered.pop() {
            return Some(Task::Revoke(key, hold, ticket));
        }
        if let Some(key) = self.next_noted(server, inbox) {
            return Some(Task::Reconcile(key));
        }
        self.next_closed(inbox).or_else(|| self.next_ready()).or_else(|| self.next_lease(server))
    }

    /// The next lock one of whose leases has ended.
    fn next_lease<S: Server>(&mut self, server: &S) -> Option<Task> {
        let now = server.now().steady;
        let due = if failpoints::is_on(Failpoint::LeaseEndsLate) { Steady(now.0 - 500_000) } else { now };
        self.leases.take_due(due).map(Task::Advance)
    }

    /// The next hold that is to end with its connection.
    fn next_closed(&mut self, inbox: &mut Inbox) -> Option<Task> {
        loop {
            let session = *inbox.closed.last()?;
            if let Some((key, owner)) = self.sessions.take(session) {
                return Some(Task::Close(key, owner, session));
            }
            inbox.closed.pop();
        }
    }

    /// The next thing that a turn left.
    fn next_ready(&mut self) -> Option<Task> {
        let task = self.ready.pop_front()?;
        if self.ready.is_empty() {
            // The memory that many tasks took is given back.
            self.ready.shrink_to(64);
        }
        Some(task)
    }

    /// The next key that events noted.
    fn next_noted<S: Server>(&mut self, server: &mut S, inbox: &mut Inbox) -> Option<KeyId> {
        if let Some((key, lease)) = inbox.unlinked.pop() {
            self.leases.remove(lease);
            return Some(key);
        }
        while inbox.changed.is_empty() {
            let name = inbox.unplaced.pop()?;
            self.spent.steps += 1;
            inbox.changed.extend(places(server, &name));
        }
        inbox.changed.pop()
    }

    /// Does a task. [`Progress::Halted`] if it must come again.
    fn perform<S: Server>(&mut self, server: &mut S, task: &Task) -> Progress {
        let at = task.key().borrow();
        let now = server.now();
        let Some(mut key) = server.open(at) else { return Progress::Done };
        let mut is_astray = false;
        let is_done = self.step(at, &mut key, now, |step| {
            match task {
                Task::Revoke(_, hold, ticket) => is_astray = !step.undelivered(*hold, *ticket),
                Task::RevokeStray(_, hold) => step.revoke(*hold),
                Task::Close(_, owner, session) => return step.close(owner.borrow(), *session),
                Task::Reconcile(_) => step.reconcile(),
                Task::Advance(_) => step.advance(),
            }
            true
        });
        // A key of another type turned its queue away; there is nobody here to be told of it.
        let progress = if is_done == Ok(false) { Progress::Halted } else { Progress::Done };
        self.note_events(task.key());
        self.index(at, &mut key);
        match task {
            Task::Reconcile(_) => self.bind_all(at, &mut key),
            Task::Revoke(_, hold, _) => self.follow_stray(at, *hold, is_astray),
            Task::RevokeStray(..) | Task::Close(..) | Task::Advance(_) => {}
        }
        progress
    }

    /// Counts some of the holds that were over and made room, and tells who listens. False if there are none. Nobody waits for
    /// that and nothing is written by it, so it comes after everything else, and whether the server would accept a write to
    /// the key does not matter.
    fn tell_some<S: Server>(&mut self, server: &mut S) -> bool {
        let Some((key, mut shared)) = self.expired_backlog.pop_front() else { return false };
        let now = server.now();
        if let Some(mut open) = server.open(key.borrow()) {
            self.report_expired(key.borrow(), &mut open, now, &mut shared);
        }
        self.note_events(&key);
        if shared.len() > 0 {
            self.expired_backlog.push_front((key, shared));
        }
        true
    }

    /// What the timer did to this key is published later.
    fn note_events(&mut self, key: &KeyId) {
        self.timer_events.extend(self.events.drain(..).map(|event| (key.clone(), event)));
    }

    /// Holds that came to this key by RENAME or MOVE are still bound to their connections.
    fn bind_all<K: Key>(&mut self, at: KeyRef, key: &mut K) {
        let Some(stored) = key.stored() else { return };
        let bound = |(_, hold): (_, &Hold)| Some((hold.owner.clone(), hold.session?));
        for (owner, session) in stored.holders.iter().filter_map(bound) {
            if self.sessions.bind(session, at, &owner) == sessions::ServerState::Closed {
                self.ready.push_back(Task::Close(at.to_id(), owner, session));
            }
        }
    }

    /// On a replica: keeps the deadlines right for the day it is promoted, and writes nothing. Who waited when it was demoted
    /// is let go by the server itself; but not in a cluster of Valkey 9, where only the queue check sends them away.
    fn follow<S: Server>(&mut self, server: &mut S, inbox: &mut Inbox, budget: &mut Budget) -> Option<Steady> {
        inbox.announce_fence = false;
        for task in mem::take(&mut self.retry).into_iter().chain(mem::take(&mut self.ready)) {
            match task {
                Task::Revoke(key, hold, ticket) => inbox.undelivered.push((key, hold, ticket)),
                Task::Reconcile(key) | Task::Advance(key) => inbox.changed.push(key),
                // Not its to take back any more.
                Task::RevokeStray(..) => {}
                // The lease alone ends it now.
                Task::Close(..) => {}
            }
        }
        inbox.closed.clear();
        for (key, hold, ticket) in inbox.undelivered.drain(..) {
            // Not its to take back any more.
            self.delivered(key.borrow(), hold, ticket);
        }
        while !budget.is_spent(server, &mut self.spent) {
            // Its leases are the primary's to end.
            let Some(key) = self.next_noted(server, inbox) else {
                // It ended while this server was the primary.
                if self.tell_some(server) {
                    continue;
                }
                let away = self.next_queue_check().into_iter().chain(self.departures.due());
                return self.waiters.first_timeout().into_iter().chain(away).min();
            };
            let open = server.open(key.borrow());
            if let Some(mut open) = open {
                self.index(key.borrow(), &mut open);
            }
        }
        Some(server.now().steady)
    }
}

/// Where there is a lock of this name, in whatever database.
fn places<S: Server>(server: &mut S, name: &[u8]) -> Vec<KeyId> {
    let found = (0..).map_while(|db| server.open(KeyRef { db, name }).map(|open| (db, open.found())));
    let locks = found.filter(|(_, found)| *found == Found::Lock);
    locks.map(|(db, _)| KeyRef { db, name }.to_id()).collect()
}
