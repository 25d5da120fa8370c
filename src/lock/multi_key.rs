//! Requests for several locks: all of them or none.
//!
//! Such a request stands in the queue of each of its locks, in the same place that any other request with its ticket would
//! have, and nobody behind it is served. It is granted when each of the locks is ready for it: when the owner holds the lock
//! already, or when the request is the first in the queue and the lock can be granted to it. Tickets put all queues in one order,
//! so two such requests never wait for each other.
//!
//! A step sees one lock only. So the rules tell whether this lock is ready, and grant it when the caller has found that all of
//! them are, and that the user may still acquire them together. The caller must do all that at one moment. It must also take a
//! request that was answered at one lock out of the queues of the others.

use std::rc::Rc;

use super::fence::Fence;
use super::hold::{HoldId, Mode};
use super::owner::OwnerRef;
use super::queue::{Ticket, Waiter};
use super::request::Request;
use super::step::Step;
use super::time::Steady;
use crate::failpoints::{self, Failpoint};

/// How one lock stands towards a request for several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// The owner holds the lock already, in a mode that satisfies the request.
    Held,
    /// The lock can be granted to the request.
    Free,
    /// Others hold the lock or come first, or this server may not grant now.
    Taken,
    /// The lock could be granted, but has as many holders as the server's settings allow.
    Full,
    /// The owner holds the lock shared, and asks for the exclusive hold.
    MustRelease,
}

impl Readiness {
    /// Whether the request need not wait for this lock.
    pub fn is_ready(self) -> bool {
        matches!(self, Readiness::Held | Readiness::Free)
    }
}

impl Step<'_> {
    /// How this lock stands towards a new request for several locks.
    pub fn readiness(&mut self, owner: OwnerRef, mode: Mode) -> Readiness {
        self.advance();
        // I4: those in the queue come first.
        let may_pass = self.queue.is_empty() || failpoints::is_on(Failpoint::NewcomerPasses);
        self.readiness_if(owner, mode, may_pass)
    }

    /// How this lock stands towards a request that waits for several locks. `None` if it does not wait here any more: this step
    /// answered it.
    pub fn readiness_of(&mut self, ticket: Ticket) -> Option<Readiness> {
        self.advance();
        let is_first = self.queue.first().is_some_and(|(first, _)| first == ticket);
        let Request { owner, mode, .. } = self.queue.get(ticket)?.request.clone();
        Some(self.readiness_if((*owner).borrow(), mode, is_first))
    }

    fn readiness_if(&self, owner: OwnerRef, mode: Mode, is_next: bool) -> Readiness {
        match self.held_by(owner) {
            Some((_, held, _)) if held.satisfies(mode) => Readiness::Held,
            Some(_) => Readiness::MustRelease,
            None if !(is_next && self.may_grant && self.holders.admit(mode)) => Readiness::Taken,
            None if self.is_full() => Readiness::Full,
            None => Readiness::Free,
        }
    }

    /// Grants this lock to a new request for several locks, each of which is [ready](Readiness::is_ready).
    pub fn acquire_one_of_several(&mut self, request: Request<OwnerRef>) -> Fence {
        match self.reacquire(request) {
            Some(hold) => hold.fence,
            None => self.grant(request.with_owner(OwnerRef::to_owner), None).fence,
        }
    }

    /// A request for several locks joins this queue.
    pub fn join(&mut self, request: Request<OwnerRef>, ticket: Ticket, until: Option<Steady>) {
        let request = request.with_owner(|owner| Rc::new(owner.to_owner()));
        self.queue.join(ticket, Waiter { request, since: self.now.steady, until, is_multi_key: true });
    }

    /// Grants this lock to a request that waits for several locks, each of which is [ready](Readiness::is_ready). The caller
    /// answers the request when it has all of them. `None` if the request does not wait here.
    pub fn grant_one_of_several(&mut self, ticket: Ticket) -> Option<HoldId> {
        let waiter = self.queue.leave(ticket)?;
        let owner = Rc::clone(&waiter.request.owner);
        let held = self.held_by((*owner).borrow()).map(|(id, _, hold)| (id, hold.session));
        let granted = match held {
            Some((id, bound_to)) => {
                let answer = (ticket, waiter.request.session);
                let in_flight = self.queue.take_answers(id);
                let request = waiter.request.with_owner(|_| (*owner).borrow());
                let id = self.reacquire(request)?;
                self.queue.put_back_answers(id, in_flight, bound_to, answer);
                id
            }
            None => self.grant_waiter(ticket, waiter),
        };
        self.advance();
        Some(granted)
    }
}
