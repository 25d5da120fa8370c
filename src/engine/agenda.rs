//! What is still to be done, and how much of it one tick of the timer may do.
//!
//! A step may leave work behind: a queue with more waiters than one step serves, a hold whose connection has closed. The
//! server may refuse a write. All that is written down here as a [`Task`], and [`Engine::tick`](super::Engine::tick) does
//! it within its [`Budget`].

use std::collections::VecDeque;
use std::mem;

use super::entries::EntryId;
use super::names::{KeyId, KeyRef};
use super::server::Server;
use crate::lock::{HoldId, Millis, Owner, Session, SharedHolders, Steady, Ticket};

/// How long one tick may take before the event loop goes on, in milliseconds.
const TICK_LENGTH: Millis = Millis(2);
/// The clock is read once for this many locks and changes of locks.
const STEPS_PER_READING: usize = 16;
/// The number of clients that one tick answers at most. The server delivers the answers afterwards, which takes it some
/// 10 us each.
const ANSWERS_MAX: usize = 128;
/// The number of tasks for which an empty list of tasks keeps its memory.
const READY_KEPT: usize = 64;

/// A step of one lock that is due.
#[derive(Debug)]
pub enum Task {
    /// An answer with this hold could not be delivered.
    Revoke(KeyId, HoldId, Ticket),
    /// The connection of this session has closed: end the owner's hold.
    Close(KeyId, Owner, Session),
    /// This hold came here from another key, and the answer with it could not be delivered.
    RevokeRelocated(KeyId, HoldId),
    /// Something outside the engine changed what the key holds: bring queue and deadlines in step with it.
    Reconcile(KeyId),
    /// End the holds that have expired, and serve the queue.
    Advance(KeyId),
    /// The same, because the lock's deadline, this entry, was due and was handed out.
    Expire(KeyId, EntryId),
    /// The request with this ticket waits for several locks. This one, which kept it from being granted, is ready now: see
    /// whether all are.
    GrantTogether(KeyId, Ticket),
}

impl Task {
    /// The key whose lock takes the step.
    pub fn key(&self) -> &KeyId {
        match self {
            Task::Revoke(key, ..)
            | Task::RevokeRelocated(key, _)
            | Task::Close(key, ..)
            | Task::Reconcile(key)
            | Task::Advance(key)
            | Task::Expire(key, _)
            | Task::GrantTogether(key, _) => key,
        }
    }

    /// The key, if the task is about the value there and follows it to another database. What is about waiters stays
    /// where they wait.
    fn value_key(&mut self) -> Option<&mut KeyId> {
        match self {
            Task::RevokeRelocated(key, _)
            | Task::Close(key, ..)
            | Task::Reconcile(key)
            | Task::Advance(key)
            | Task::Expire(key, _) => Some(key),
            Task::Revoke(..) | Task::GrantTogether(..) => None,
        }
    }

    /// Whether it ends the hold of a connection that closed.
    fn is_close(&self) -> bool {
        match self {
            Task::Close(..) => true,
            Task::Revoke(..)
            | Task::RevokeRelocated(..)
            | Task::Reconcile(_)
            | Task::Advance(_)
            | Task::Expire(..)
            | Task::GrantTogether(..) => false,
        }
    }
}

/// The work that is left.
#[derive(Debug, Default)]
pub struct Agenda {
    /// What the next tick does.
    ready: VecDeque<Task>,
    /// What the server refused. A later tick tries again.
    retry: Vec<Task>,
    /// Holds that had expired and made room for an exclusive one, by the lock that they held. They are still to be counted
    /// and reported.
    expired_backlog: VecDeque<(KeyId, SharedHolders)>,
    /// What the current tick may still do.
    pub budget: Budget,
}

impl Agenda {
    /// Whether the next tick has work, whatever the time.
    pub fn has_ready_work(&self) -> bool {
        !(self.ready.is_empty() && self.expired_backlog.is_empty())
    }

    /// Whether the server refused anything.
    pub fn has_retries(&self) -> bool {
        !self.retry.is_empty()
    }

    /// The next tick does this.
    pub fn push(&mut self, task: Task) {
        self.ready.push_back(task);
    }

    /// The next tick advances this lock.
    pub fn advance(&mut self, at: KeyRef) {
        // Many waiters that leave one queue ask for it again and again.
        let is_asked = matches!(self.ready.back(), Some(Task::Advance(key)) if key.borrow() == at);
        if !is_asked {
            self.ready.push_back(Task::Advance(at.to_id()));
        }
    }

    /// Takes the next task.
    pub fn next_ready(&mut self) -> Option<Task> {
        let task = self.ready.pop_front()?;
        if self.ready.is_empty() {
            self.ready.shrink_to(READY_KEPT);
        }
        Some(task)
    }

    /// The server refused this task. A later tick tries it again.
    pub fn retry_later(&mut self, task: Task) {
        self.retry.push(task);
    }

    /// Takes what the server refused, to try it again.
    pub fn take_retries(&mut self) -> Vec<Task> {
        mem::take(&mut self.retry)
    }

    /// Puts back what was not tried again. The next tick tries it first.
    pub fn put_back_retries(&mut self, mut tasks: Vec<Task>) {
        self.retry.append(&mut tasks);
    }

    /// Takes all tasks.
    pub fn take_tasks(&mut self) -> impl Iterator<Item = Task> {
        mem::take(&mut self.retry).into_iter().chain(mem::take(&mut self.ready))
    }

    /// These holds had expired and made room. They are still to be counted and reported.
    pub fn push_expired(&mut self, key: KeyId, holds: SharedHolders) {
        self.expired_backlog.push_back((key, holds));
    }

    /// Takes the first holds that are still to be counted and reported.
    pub fn take_expired(&mut self) -> Option<(KeyId, SharedHolders)> {
        self.expired_backlog.pop_front()
    }

    /// Puts back the holds that were not reported yet. They stay the first.
    pub fn put_back_expired(&mut self, key: KeyId, holds: SharedHolders) {
        self.expired_backlog.push_front((key, holds));
    }

    /// The requests for several locks that are to be looked at.
    #[cfg(any(test, fuzzing))]
    pub fn due_requests(&self) -> impl Iterator<Item = Ticket> + '_ {
        self.ready.iter().chain(&self.retry).filter_map(|task| match task {
            Task::GrantTogether(_, ticket) => Some(*ticket),
            _ => None,
        })
    }

    /// Every key that is named here.
    #[cfg(any(test, fuzzing))]
    pub fn keys(&self) -> impl Iterator<Item = &KeyId> {
        let tasks = self.ready.iter().chain(&self.retry).map(Task::key);
        tasks.chain(self.expired_backlog.iter().map(|(key, _)| key))
    }

    /// A change of role: connections that closed end nothing any more.
    pub fn forget_closes(&mut self) {
        self.ready.retain(|task| !task.is_close());
        self.retry.retain(|task| !task.is_close());
    }

    /// Two databases changed places: tasks about values follow the values.
    pub fn swap(&mut self, one: i32, other: i32) {
        let tasks = self.retry.iter_mut().chain(&mut self.ready).filter_map(Task::value_key);
        for key in tasks.chain(self.expired_backlog.iter_mut().map(|(key, _)| key)) {
            key.swap(one, other);
        }
    }
}

/// How much one tick may do: it ends after a length of time, or after a number of answers. Every step is charged to it, also
/// those of commands; a tick begins with a new one.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    end: Steady,
    /// Locks that were looked at, and changes of locks, since the clock was read last.
    steps: usize,
    /// Clients that were answered.
    answers: usize,
    is_spent: bool,
}

impl Default for Budget {
    /// Before the first tick.
    fn default() -> Budget {
        Budget { end: Steady(i64::MIN), steps: 0, answers: 0, is_spent: false }
    }
}

impl Budget {
    /// The budget of a tick that begins now.
    pub fn beginning(now: Steady) -> Budget {
        Budget { end: now + TICK_LENGTH, ..Budget::default() }
    }

    /// This many locks were looked at, or changes made.
    pub fn charge_steps(&mut self, steps: usize) {
        self.steps += steps;
    }

    /// A client was answered.
    pub fn charge_answer(&mut self) {
        self.answers += 1;
    }

    /// Whether the tick must end. Charges a step for the question.
    pub fn is_spent<S: Server>(&mut self, server: &S) -> bool {
        self.steps += 1;
        if self.steps >= STEPS_PER_READING {
            self.steps = 0;
            self.is_spent |= server.now().steady >= self.end;
        }
        self.is_spent |= self.answers >= ANSWERS_MAX;
        self.is_spent
    }
}
