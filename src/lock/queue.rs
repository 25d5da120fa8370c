//! The queue of waiters of one lock, and the grants that are on their way to them. In memory only.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use smallvec::SmallVec;

use super::hold::{HoldId, Mode, Session, User};
use super::owner::{Owner, OwnerRef};
use super::time::{Millis, Steady};

/// Names one waiter of this process. Tickets rise in the order in which the waiters came, over all locks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// What a waiter asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiter {
    /// For whom it asks.
    pub owner: Rc<Owner>,
    /// How it wants to hold.
    pub mode: Mode,
    /// The lease it asks for; begins at the grant.
    pub lease: Millis,
    /// Since when it waits.
    pub since: Steady,
    /// When it stops waiting; `None`: never.
    pub until: Option<Steady>,
    /// The connection that the hold is to end with.
    pub session: Option<Session>,
    /// Who asks.
    pub user: Option<User>,
}

impl Waiter {
    /// Whether its wait has run out. Such a waiter is never granted.
    pub fn has_timed_out(&self, now: Steady) -> bool {
        self.until.is_some_and(|until| until <= now)
    }
}

/// An answer "granted".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sent {
    ticket: Ticket,
    session: Option<Session>,
    has_arrived: bool,
}

/// The answers with one grant, in the order of the requests; at least one of them has not arrived yet.
type InFlight = SmallVec<[Sent; 1]>;

/// What it means for a hold that an answer could not be delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Nothing: its owner was told otherwise, or the hold is over.
    Nothing,
    /// The owner was or can still be told by another answer, whose request now decides about the session.
    OneOfSeveral(Option<Session>),
    /// Nobody can be told of the hold any more.
    LastHope,
}

/// Who waits, in the order in which they came. Joining and leaving are O(log n) anywhere in the queue.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WaitQueue {
    /// Boxed, because a tree has up to twice the room it needs.
    waiting: BTreeMap<Ticket, Box<Waiter>>,
    by_owner: BTreeSet<(Rc<Owner>, Ticket)>,
    /// Entries live from a grant to the delivery of its answers, within one iteration of the event loop.
    in_flight: BTreeMap<HoldId, InFlight>,
}

impl WaitQueue {
    /// How many wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether there is nothing left to remember.
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.in_flight.is_empty()
    }

    /// Joins at the end. Tickets must rise.
    pub fn join(&mut self, ticket: Ticket, waiter: Waiter) {
        self.by_owner.insert((Rc::clone(&waiter.owner), ticket));
        self.waiting.insert(ticket, Box::new(waiter));
    }

    /// Leaves from anywhere; `None` for one who does not wait here.
    pub fn leave(&mut self, ticket: Ticket) -> Option<Waiter> {
        let waiter = self.waiting.remove(&ticket)?;
        self.by_owner.remove(&(Rc::clone(&waiter.owner), ticket));
        Some(*waiter)
    }

    /// The one who has waited longest.
    pub fn first(&self) -> Option<(Ticket, &Waiter)> {
        self.waiting.first_key_value().map(|(ticket, waiter)| (*ticket, &**waiter))
    }

    /// Takes every waiter of one owner, in order.
    pub fn take_of(&mut self, owner: OwnerRef) -> Vec<(Ticket, Waiter)> {
        let owner = Rc::new(owner.to_owner());
        let theirs = (Rc::clone(&owner), Ticket(0))..=(owner, Ticket(u64::MAX));
        let tickets: Vec<Ticket> = self.by_owner.range(theirs).map(|(_, ticket)| *ticket).collect();
        tickets.into_iter().filter_map(|ticket| self.leave(ticket).map(|waiter| (ticket, waiter))).collect()
    }

    /// Who waits under this ticket.
    pub fn get(&self, ticket: Ticket) -> Option<&Waiter> {
        self.waiting.get(&ticket).map(|waiter| &**waiter)
    }

    /// Who waits, longest first.
    pub fn iter(&self) -> impl Iterator<Item = (Ticket, &Waiter)> {
        self.waiting.iter().map(|(ticket, waiter)| (*ticket, &**waiter))
    }

    /// Who stands before this one, nearest first.
    pub fn before(&self, ticket: Ticket) -> impl Iterator<Item = (Ticket, &Waiter)> {
        self.waiting.range(..ticket).rev().map(|(ticket, waiter)| (*ticket, &**waiter))
    }

    /// Whether the owner of this request is in the queue before it: then it is answered when the other is.
    pub fn asked_before(&self, ticket: Ticket, now: Steady) -> bool {
        let Some(waiter) = self.waiting.get(&ticket) else { return false };
        let earlier = (Rc::clone(&waiter.owner), Ticket(0))..(Rc::clone(&waiter.owner), ticket);
        let mut running = self.by_owner.range(earlier).filter_map(|(_, ticket)| self.waiting.get(ticket));
        running.any(|other| !other.has_timed_out(now))
    }

    /// Remembers that these requests are being told of a grant.
    pub fn start_delivery(&mut self, hold: HoldId, to: impl IntoIterator<Item = (Ticket, Option<Session>)>) {
        let sent = to.into_iter().map(|(ticket, session)| Sent { ticket, session, has_arrived: false });
        self.in_flight.insert(hold, sent.collect());
    }

    /// The holds that some answer is on its way with.
    pub fn in_flight(&self) -> impl Iterator<Item = HoldId> + '_ {
        self.in_flight.keys().copied()
    }

    /// Whether an answer with this hold is on its way.
    pub fn is_in_flight(&self, hold: HoldId) -> bool {
        self.in_flight.contains_key(&hold)
    }

    /// The owner knows of its hold, or the hold is over: what becomes of the answers no longer matters.
    pub fn settle(&mut self, hold: HoldId) {
        if !self.in_flight.is_empty() {
            self.in_flight.remove(&hold);
        }
    }

    /// An answer arrived.
    pub fn delivered(&mut self, hold: HoldId, ticket: Ticket) {
        let Some(answers) = self.in_flight.get_mut(&hold) else { return };
        for sent in answers.iter_mut().filter(|sent| sent.ticket == ticket) {
            sent.has_arrived = true;
        }
        if answers.iter().all(|sent| sent.has_arrived) {
            self.settle(hold);
        }
    }

    /// An answer could not be delivered.
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

    /// Whether an answer on this connection is still on its way. What becomes of it decides, not that it closed.
    pub fn is_on_its_way(&self, hold: HoldId, session: Session) -> bool {
        let pending = |sent: &Sent| sent.session == Some(session) && !sent.has_arrived;
        self.in_flight.get(&hold).is_some_and(|answers| answers.iter().any(pending))
    }

    /// Panics unless the two views of the queue agree. For tests.
    #[cfg(any(test, fuzzing))]
    pub fn assert_sound(&self) {
        let from_waiting: BTreeSet<_> = self.waiting.iter().map(|(t, w)| (Rc::clone(&w.owner), *t)).collect();
        assert_eq!(from_waiting, self.by_owner);
        assert!(self.in_flight.values().all(|answers| answers.iter().any(|sent| !sent.has_arrived)));
    }
}
