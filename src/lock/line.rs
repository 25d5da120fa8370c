//! The line of waiters of one lock, and the grants that are on their way to them. In memory only.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::fence::Fence;
use super::hold::Mode;
use super::owner::{Owner, OwnerRef};
use super::time::{Millis, Steady};

/// Names one waiter of this process. Tickets rise in the order in which the waiters came, over all locks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
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
    /// When it stops waiting; `None`: never.
    pub until: Option<Steady>,
}

impl Waiter {
    /// Whether its wait has run out. Such a waiter is never granted.
    pub fn is_over(&self, now: Steady) -> bool {
        self.until.is_some_and(|until| until <= now)
    }
}

/// A grant whose answers are still on their way to the waiters.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Handed {
    fence: Fence,
    /// How many waiters of this owner were answered and may yet turn out to be gone.
    pending: usize,
}

/// Who waits, in the order in which they came. Joining and leaving are O(log n) anywhere in the line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line {
    waiting: BTreeMap<Ticket, Waiter>,
    by_owner: BTreeSet<(Rc<Owner>, Ticket)>,
    /// At most a few: entries live from a grant to the delivery of its answers, within one turn of the event loop.
    handed: Vec<Handed>,
}

impl Line {
    /// How many wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether there is nothing left to remember.
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.handed.is_empty()
    }

    /// Joins at the end. Tickets must rise.
    pub fn join(&mut self, ticket: Ticket, waiter: Waiter) {
        self.by_owner.insert((Rc::clone(&waiter.owner), ticket));
        self.waiting.insert(ticket, waiter);
    }

    /// Leaves from anywhere; `None` for one who does not wait here.
    pub fn leave(&mut self, ticket: Ticket) -> Option<Waiter> {
        let waiter = self.waiting.remove(&ticket)?;
        self.by_owner.remove(&(Rc::clone(&waiter.owner), ticket));
        Some(waiter)
    }

    /// Takes the one who has waited longest.
    pub fn take_first(&mut self) -> Option<(Ticket, Waiter)> {
        let ticket = *self.waiting.first_key_value()?.0;
        self.leave(ticket).map(|waiter| (ticket, waiter))
    }

    /// Takes every waiter of one owner, in order.
    pub fn take_of(&mut self, owner: OwnerRef) -> Vec<(Ticket, Waiter)> {
        if self.waiting.is_empty() {
            return Vec::new();
        }
        let owner = Rc::new(owner.to_owner());
        let theirs = (Rc::clone(&owner), Ticket(0))..=(owner, Ticket(u64::MAX));
        let tickets: Vec<Ticket> = self.by_owner.range(theirs).map(|(_, ticket)| *ticket).collect();
        tickets.into_iter().filter_map(|ticket| self.leave(ticket).map(|waiter| (ticket, waiter))).collect()
    }

    /// When this waiter stops waiting; `None`: never, or it is not here.
    pub fn until(&self, ticket: Ticket) -> Option<Steady> {
        self.waiting.get(&ticket)?.until
    }

    /// Who waits, longest first.
    #[cfg(test)]
    pub fn iter(&self) -> impl Iterator<Item = (Ticket, &Waiter)> {
        self.waiting.iter().map(|(ticket, waiter)| (*ticket, waiter))
    }

    /// Remembers that answers with this fence are on their way.
    pub fn hand(&mut self, fence: Fence, pending: usize) {
        self.handed.push(Handed { fence, pending });
    }

    /// The owner knows of its hold, or the hold is over: what becomes of the answers no longer matters.
    pub fn settle(&mut self, fence: Fence) {
        self.handed.retain(|handed| handed.fence != fence);
    }

    /// One answer could not be delivered; true when it was the last hope for this grant.
    pub fn undelivered(&mut self, fence: Fence) -> bool {
        let Some(handed) = self.handed.iter_mut().find(|handed| handed.fence == fence) else { return false };
        handed.pending = handed.pending.saturating_sub(1);
        let lost = handed.pending == 0;
        if lost {
            self.settle(fence);
        }
        lost
    }

    /// Panics unless the two views of the line agree. For tests.
    #[cfg(test)]
    pub fn assert_sound(&self) {
        let from_waiting: BTreeSet<_> = self.waiting.iter().map(|(t, w)| (Rc::clone(&w.owner), *t)).collect();
        assert_eq!(from_waiting, self.by_owner);
        assert!(self.handed.iter().all(|handed| handed.pending > 0));
    }
}
