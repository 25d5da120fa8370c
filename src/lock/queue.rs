//! The wait queue of one lock, and the answers with its grants that are in flight. In memory only, never saved.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use smallvec::SmallVec;

use super::hold::{HoldId, Session};
use super::owner::{Owner, OwnerRef};
use super::request::Request;
use super::time::Steady;

/// Identifies one waiter of this process. Tickets rise in the order in which the waiters came, over all locks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

impl Ticket {
    /// A ticket that no waiter has, and that sorts before all others.
    pub const NONE: Ticket = Ticket(0);
}

/// A request that waits in the queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiter {
    /// What it asks for.
    pub request: Request<Rc<Owner>>,
    /// When it joined the queue.
    pub since: Steady,
    /// When its wait times out; `None` if it has no limit.
    pub until: Option<Steady>,
    /// Whether it waits for several locks at once, under one ticket. It is granted all of them or none.
    pub is_multi_key: bool,
}

impl Waiter {
    /// Whether its wait has timed out. Such a waiter is never granted the lock.
    pub fn has_timed_out(&self, now: Steady) -> bool {
        self.until.is_some_and(|until| until <= now)
    }
}

/// An answer that tells a client of a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sent {
    ticket: Ticket,
    session: Option<Session>,
    has_arrived: bool,
}

/// The answers that tell of one grant, in the order of the requests. At least one of them has not arrived yet.
type InFlight = SmallVec<[Sent; 1]>;

/// The answers in flight that tell of one hold, if there are any.
pub struct Answers(Option<InFlight>);

/// What the loss of an answer means for the hold that it told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Nothing: the owner knows of the hold already, or the hold has ended.
    Nothing,
    /// Another answer told the owner, or still can. The request behind that one now decides about the session.
    OneOfSeveral(Option<Session>),
    /// No answer is left that could tell the owner of the hold.
    LastHope,
}

/// The waiters of one lock, first come first served. Joining and leaving are O(log n) anywhere in the queue.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WaitQueue {
    /// Boxed, because a tree has up to twice the room it needs.
    waiting: BTreeMap<Ticket, Box<Waiter>>,
    by_owner: BTreeSet<(Rc<Owner>, Ticket)>,
    /// An entry lives from a grant to the delivery of its answers, within one iteration of the event loop.
    in_flight: BTreeMap<HoldId, InFlight>,
}

impl WaitQueue {
    /// The number of waiters.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether there are no waiters.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether there are no waiters and no answers in flight, so that the queue can be dropped.
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.in_flight.is_empty()
    }

    /// Adds a waiter at the end. Its ticket must be larger than every ticket in the queue.
    pub fn join(&mut self, ticket: Ticket, waiter: Waiter) {
        self.by_owner.insert((Rc::clone(&waiter.request.owner), ticket));
        self.waiting.insert(ticket, Box::new(waiter));
    }

    /// Takes a waiter out, from anywhere in the queue. `None` if there is none with this ticket.
    pub fn leave(&mut self, ticket: Ticket) -> Option<Waiter> {
        let waiter = self.waiting.remove(&ticket)?;
        self.by_owner.remove(&(Rc::clone(&waiter.request.owner), ticket));
        Some(*waiter)
    }

    /// Takes out all waiters, first come first. Answers in flight stay.
    pub fn leave_all(&mut self) -> impl Iterator<Item = Ticket> {
        self.by_owner.clear();
        std::mem::take(&mut self.waiting).into_keys()
    }

    /// The waiter that came first.
    pub fn first(&self) -> Option<(Ticket, &Waiter)> {
        self.waiting.first_key_value().map(|(ticket, waiter)| (*ticket, &**waiter))
    }

    /// The tickets of one owner's waiters, first come first.
    pub fn tickets_of(&self, owner: OwnerRef) -> Vec<Ticket> {
        let owner = Rc::new(owner.to_owner());
        let theirs = (Rc::clone(&owner), Ticket::NONE)..=(owner, Ticket(u64::MAX));
        self.by_owner.range(theirs).map(|(_, ticket)| *ticket).collect()
    }

    /// The waiter with this ticket.
    pub fn get(&self, ticket: Ticket) -> Option<&Waiter> {
        self.waiting.get(&ticket).map(|waiter| &**waiter)
    }

    /// All waiters, first come first.
    pub fn iter(&self) -> impl Iterator<Item = (Ticket, &Waiter)> {
        self.waiting.iter().map(|(ticket, waiter)| (*ticket, &**waiter))
    }

    /// The waiters that came before this one, the nearest first.
    pub fn before(&self, ticket: Ticket) -> impl Iterator<Item = (Ticket, &Waiter)> {
        self.waiting.range(..ticket).rev().map(|(ticket, waiter)| (*ticket, &**waiter))
    }

    /// Whether the same owner has an earlier request in the queue. This one is answered together with it.
    pub fn asked_before(&self, ticket: Ticket, now: Steady) -> bool {
        let Some(waiter) = self.waiting.get(&ticket) else { return false };
        let earlier = (Rc::clone(&waiter.request.owner), Ticket::NONE)..(Rc::clone(&waiter.request.owner), ticket);
        let mut running = self.by_owner.range(earlier).filter_map(|(_, ticket)| self.waiting.get(ticket));
        running.any(|other| !other.has_timed_out(now))
    }

    /// The answers to these requests, which tell of this hold, are in flight now.
    pub fn start_delivery(&mut self, hold: HoldId, to: impl IntoIterator<Item = (Ticket, Option<Session>)>) {
        let sent = to.into_iter().map(|(ticket, session)| Sent { ticket, session, has_arrived: false });
        self.in_flight.insert(hold, sent.collect());
    }

    /// Takes the answers in flight that tell of this hold, which is about to be granted to its owner once more.
    pub fn take_answers(&mut self, hold: HoldId) -> Answers {
        Answers(self.in_flight.remove(&hold))
    }

    /// Puts back the answers in flight that tell of this hold, and adds one. If there were none its owner knows of the hold, and it
    /// was bound to that session: if the new answer is lost, the hold stays, and is bound to it again.
    pub fn put_back_answers(
        &mut self,
        hold: HoldId,
        before: Answers,
        bound_to: Option<Session>,
        (ticket, session): (Ticket, Option<Session>),
    ) {
        let known = || InFlight::from_elem(Sent { ticket: Ticket::NONE, session: bound_to, has_arrived: true }, 1);
        let mut sent = before.0.unwrap_or_else(known);
        sent.push(Sent { ticket, session, has_arrived: false });
        self.in_flight.insert(hold, sent);
    }

    /// The holds that an answer in flight tells of.
    pub fn in_flight(&self) -> impl Iterator<Item = HoldId> + '_ {
        self.in_flight.keys().copied()
    }

    /// Whether an answer that tells of this hold is in flight.
    pub fn is_in_flight(&self, hold: HoldId) -> bool {
        self.in_flight.contains_key(&hold)
    }

    /// The owner knows of this hold, or the hold has ended: what becomes of the answers no longer matters.
    pub fn settle(&mut self, hold: HoldId) {
        if !self.in_flight.is_empty() {
            self.in_flight.remove(&hold);
        }
    }

    /// The answer to this request, which told of this hold, was delivered.
    pub fn delivered(&mut self, hold: HoldId, ticket: Ticket) {
        let Some(answers) = self.in_flight.get_mut(&hold) else { return };
        for sent in answers.iter_mut().filter(|sent| sent.ticket == ticket) {
            sent.has_arrived = true;
        }
        if answers.iter().all(|sent| sent.has_arrived) {
            self.settle(hold);
        }
    }

    /// The answer to this request, which told of this hold, could not be delivered.
    pub fn undelivered(&mut self, hold: HoldId, ticket: Ticket) -> Loss {
        let Some(answers) = self.in_flight.get_mut(&hold) else { return Loss::Nothing };
        answers.retain(|sent| sent.ticket != ticket);
        let Some(last) = answers.last().copied() else {
            self.settle(hold);
            return Loss::LastHope;
        };
        if answers.iter().all(|sent| sent.has_arrived) {
            self.settle(hold);
        }
        Loss::OneOfSeveral(last.session)
    }

    /// Whether an answer that tells this connection of this hold is still in flight. What becomes of the answer decides
    /// about the hold then, and not that the connection closed.
    pub fn has_answer_in_flight(&self, hold: HoldId, session: Session) -> bool {
        let pending = |sent: &Sent| sent.session == Some(session) && !sent.has_arrived;
        self.in_flight.get(&hold).is_some_and(|answers| answers.iter().any(pending))
    }

    /// Panics unless the two indexes of the queue agree. For tests.
    #[cfg(any(test, fuzzing))]
    pub fn assert_sound(&self) {
        let from_waiting: BTreeSet<_> = self.waiting.iter().map(|(t, w)| (Rc::clone(&w.request.owner), *t)).collect();
        assert_eq!(from_waiting, self.by_owner);
        assert!(self.in_flight.values().all(|answers| answers.iter().any(|sent| !sent.has_arrived)));
    }
}
