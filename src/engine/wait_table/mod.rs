//! The wait table: the queues of all locks, the clients that wait in them, and the holders of the locks that they wait for.
//!
//! The three belong together. A request stands in one queue, or in one for each of several locks, and has one client; a lock
//! is contended if it has a queue and holders. So they are private to this table, and each of its methods leaves them in step:
//!
//! * [`WaitTable::lend`] gives a step of the rules the queue of its lock, and [`WaitTable::take_back`] brings the table
//!   up to date after the step.
//! * A request that joined in the step is [parked](WaitTable::park) with its client.
//! * A request that the rules took out of its queue is [answered](WaitTable::answer).
//! * All others [leave](WaitTable::leave) and are answered or [abandoned](WaitTable::abandon).

#[cfg(any(test, fuzzing, debug_assertions))]
mod checks;
mod clients;
mod contended;
mod queues;

use std::mem;
use std::rc::Rc;

use smallvec::SmallVec;

pub use clients::{takes_part, ParkedClients};
pub use contended::Contended;

use super::names::{KeyId, KeyRef};
use super::server::{Reply, Waiting};
use crate::failpoints::{self, Failpoint};
use crate::lock::{HoldId, Holders, Loss, Mode, Owner, Steady, Ticket, WaitQueue, Waiter};
use clients::Requester;
use queues::WaitQueues;

/// The wait table of a server.
pub struct WaitTable<W: Waiting> {
    queues: WaitQueues,
    clients: ParkedClients<W>,
    contended: Contended,
    /// The queue that a step of a lock without one works with. It is empty between two steps.
    spare: WaitQueue,
    /// The next request that waits gets this ticket.
    next_ticket: u64,
}

/// What follows from a request's leaving its queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// The next in the queue may be let in now.
    NextMayEnter,
    /// Nothing changes for the others.
    NothingElse,
}

impl<W: Waiting> WaitTable<W> {
    /// An empty table.
    pub fn new() -> WaitTable<W> {
        WaitTable {
            queues: WaitQueues::default(),
            clients: ParkedClients::new(),
            contended: Contended::default(),
            spare: WaitQueue::default(),
            next_ticket: Ticket::NONE.0 + 1,
        }
    }

    /// The number of clients that wait.
    pub fn len(&self) -> usize {
        self.clients.len()
    }

    /// When the next wait runs out.
    pub fn first_timeout(&self) -> Option<Steady> {
        self.clients.first_timeout()
    }

    /// The clients that wait.
    pub fn clients(&self) -> &ParkedClients<W> {
        &self.clients
    }

    /// The contended locks, and how each is held.
    pub fn contended(&self) -> &Contended {
        &self.contended
    }

    /// The queue of this lock, if it has one.
    pub fn queue(&self, at: KeyRef) -> Option<&WaitQueue> {
        self.queues.get(at)
    }

    /// Whether this lock has a queue.
    pub fn has_queue(&self, at: KeyRef) -> bool {
        self.queues.get(at).is_some()
    }

    /// The queues of one database, each with the name of its lock's key.
    pub fn queues_of(&self, db: i32) -> impl Iterator<Item = (&[u8], &WaitQueue)> {
        self.queues.of_db(db)
    }

    /// Every queue, with the name of its lock.
    pub fn queues(&self) -> impl Iterator<Item = (KeyRef<'_>, &WaitQueue)> {
        self.queues.iter()
    }

    /// The names of all locks that have a queue: those of the databases given, or of all databases if none are given.
    pub fn keys(&self, dbs: Option<&[i32]>) -> Vec<KeyId> {
        self.queues.keys(dbs)
    }

    /// The ticket of the next request that waits. Until it is [kept](WaitTable::keep_ticket) the same one is given again.
    pub fn next_ticket(&self) -> Ticket {
        Ticket(self.next_ticket)
    }

    /// The request with the next ticket waits.
    pub fn keep_ticket(&mut self) {
        self.next_ticket += 1;
    }

    /// Lends a step the queue of its lock, or an empty one if the lock has none. True if the lock has one.
    pub fn lend(&mut self, at: KeyRef) -> (&mut WaitQueue, bool) {
        match self.queues.get_mut(at) {
            Some(queue) => (queue, true),
            None => (&mut self.spare, false),
        }
    }

    /// Whether a step left anything in the empty queue that it was lent.
    pub fn is_spare_used(&self) -> bool {
        !self.spare.is_idle()
    }

    /// Takes back a queue after a step that left the lock with these holders. If the lock had no queue it has one now if
    /// somebody waits; a queue in which nobody waits is forgotten once all its answers are delivered.
    pub fn take_back(&mut self, at: KeyRef, had_queue: bool, holders: &Holders) {
        let has_queue = if had_queue {
            !self.queues.remove_if_idle(at)
        } else {
            self.queues.insert(at, mem::take(&mut self.spare));
            true
        };
        self.contended.note(at, Some(holders), has_queue);
    }

    /// Takes note of the client behind a request that has just joined the queue of `at`. `is_made`: the server made the
    /// owner, and must name it in the answer. A client whose request stands in no queue is abandoned.
    pub fn park(&mut self, ticket: Ticket, client: W, at: KeyRef, is_made: bool) {
        let Some((requester, until)) = self.requester(at, ticket, is_made) else { return client.abandon() };
        self.clients.park(ticket, client, (at.db, self.queue_name(at)), None, until, requester);
    }

    /// Takes note of the client behind a request for several locks, which has just joined all their queues. `watched` is the
    /// place of a lock that is not ready; `is_made` and a request that stands in no queue as for [`WaitTable::park`].
    pub fn park_multi_key(&mut self, ticket: Ticket, client: W, keys: &[KeyRef], watched: usize, is_made: bool) {
        let Some((at, others)) = keys.split_first() else { return client.abandon() };
        let Some((requester, until)) = self.requester(*at, ticket, is_made) else { return client.abandon() };
        let others = others.iter().map(|at| self.queue_name(*at)).collect();
        self.clients.park(ticket, client, (at.db, self.queue_name(*at)), Some((others, watched)), until, requester);
    }

    /// What is remembered of a request that stands in this queue, and when its wait ends.
    fn requester(&self, at: KeyRef, ticket: Ticket, is_made: bool) -> Option<(Requester, Option<Steady>)> {
        let waiter = self.queues.get(at)?.get(ticket)?;
        let (owner, user) = (Rc::clone(&waiter.request.owner), waiter.request.user);
        Some((Requester { owner, is_made, user, takes_part: takes_part(waiter.request.mode) }, waiter.until))
    }

    /// The queue's own copy of the key's name.
    fn queue_name(&self, at: KeyRef) -> Rc<[u8]> {
        self.queues.name(at).unwrap_or_else(|| at.name.into())
    }

    /// The ticket of the request that this client waits with.
    pub fn ticket(&self, client: W::Id) -> Option<Ticket> {
        self.clients.ticket(client)
    }

    /// Takes the ticket of a request whose wait has run out. The request still stands in its queue.
    pub fn take_timed_out(&mut self, now: Steady) -> Option<Ticket> {
        self.clients.take_timed_out(now)
    }

    /// The locks that the request with this ticket waits for, if its client is parked.
    pub fn keys_of(&self, ticket: Ticket) -> SmallVec<[KeyId; 1]> {
        self.clients.keys_of(ticket).map(KeyRef::to_id).collect()
    }

    /// This lock is ready for the request with this ticket, which waits for several. True if a task must look at all of them
    /// now, and no task is there yet.
    pub fn becomes_due(&mut self, at: KeyRef, ticket: Ticket) -> bool {
        self.clients.becomes_due(at, ticket)
    }

    /// The lock at this place, of the several that the request with this ticket waits for, is not ready. Nothing is to be done
    /// about the request before that one is.
    pub fn watch(&mut self, ticket: Ticket, place: usize) {
        self.clients.watch(ticket, place);
    }

    /// The task that was to look at all locks of the request with this ticket is dropped.
    pub fn watch_again(&mut self, ticket: Ticket) {
        self.clients.watch_again(ticket);
    }

    /// A request leaves its queue without having been served.
    pub fn leave(&mut self, at: KeyRef, ticket: Ticket) -> Left {
        let Some(queue) = self.queues.get_mut(at) else { return Left::NothingElse };
        let was_first = queue.first().is_some_and(|(first, _)| first == ticket);
        // The lock may be free, with a request for several locks in front.
        let was_multi_key = queue.leave(ticket).is_some_and(|waiter| waiter.is_multi_key);
        // A request for the exclusive hold waits for the holders, whoever else stood before it.
        let may_enter = |next: &Waiter| was_multi_key || next.request.mode != Mode::Exclusive;
        let next_may_enter = queue.first().is_some_and(|(_, next)| may_enter(next));
        self.forget_if_idle(at);
        if was_first && next_may_enter {
            Left::NextMayEnter
        } else {
            Left::NothingElse
        }
    }

    /// The answer to this request with this hold was delivered.
    pub fn delivered(&mut self, at: KeyRef, hold: HoldId, ticket: Ticket) {
        if let Some(queue) = self.queues.get_mut(at) {
            queue.delivered(hold, ticket);
            self.forget_if_idle(at);
        }
    }

    /// Takes everybody out of the queue of this lock. They are still to be answered. The answers in flight stay known.
    pub fn dissolve(&mut self, at: KeyRef) -> Vec<Ticket> {
        let Some(queue) = self.queues.get_mut(at) else { return Vec::new() };
        self.contended.note(at, None, false);
        let tickets = queue.leave_all().collect();
        self.queues.remove_if_idle(at);
        tickets
    }

    /// A request has ended at one of its locks. Takes it out of the queues of its other locks, and returns those locks at which
    /// the next may be let in now.
    pub fn leave_other_queues(&mut self, ticket: Ticket) -> SmallVec<[KeyId; 1]> {
        if !self.clients.has_multi_key() || failpoints::is_on(Failpoint::MultiKeyStaysInQueues) {
            return SmallVec::new();
        }
        let mut keys = self.keys_of(ticket);
        keys.retain(|key| self.leave(key.borrow(), ticket) == Left::NextMayEnter);
        keys
    }

    /// The answer to this request with this hold could not be delivered, and the key holds no lock.
    pub fn undelivered(&mut self, at: KeyRef, hold: HoldId, ticket: Ticket) -> Loss {
        let Some(queue) = self.queues.get_mut(at) else { return Loss::Nothing };
        let loss = queue.undelivered(hold, ticket);
        self.forget_if_idle(at);
        loss
    }

    /// Answers a request that has left its queue. The reply may name the owner if the server made it.
    pub fn answer(&mut self, ticket: Ticket, reply: impl FnOnce(Option<Rc<Owner>>) -> Reply) {
        self.clients.answer(ticket, reply);
    }

    /// Lets go of a client without an answer. Its request has left its queue.
    pub fn abandon(&mut self, ticket: Ticket) {
        self.clients.abandon(ticket);
    }

    fn forget_if_idle(&mut self, at: KeyRef) {
        if self.queues.remove_if_idle(at) {
            self.contended.note(at, None, false);
        }
    }
}
