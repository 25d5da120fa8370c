//! What clients ask of a lock: to acquire, release, downgrade and extend it.

use std::rc::Rc;

use super::effect::{Answer, Effect, End, HoldChange};
use super::fence::Fence;
use super::hold::Mode;
use super::owner::OwnerRef;
use super::queue::{Ticket, Waiter};
use super::request::Request;
use super::step::Step;
use super::time::{Millis, Steady};
use crate::failpoints::{self, Failpoint};

/// What a request does if the lock is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// It is refused.
    No,
    /// It joins the wait queue.
    Join {
        /// The waiter's ticket, larger than every ticket before it.
        ticket: Ticket,
        /// When the wait times out; `None` if it has no limit.
        until: Option<Steady>,
    },
}

/// The result of [`Step::acquire`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acquired {
    /// The owner holds the lock, with this fence.
    Granted(Fence),
    /// Another owner holds the lock, or waits for it.
    Refused,
    /// The request joined the wait queue.
    Waits,
    /// The owner holds the lock shared and asks to hold it exclusively. Two owners that waited for that would wait for one
    /// another for ever.
    MustRelease,
    /// This server may not grant locks now.
    MayNotGrant,
    /// The lock already has as many holders as the server's settings allow.
    Full,
}

/// A change of the lease or the fence of a running hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extend<'a> {
    /// The owner of the hold.
    pub owner: OwnerRef<'a>,
    /// The new lease, counted from now. `None` repeats the length that was given last.
    pub lease: Option<Millis>,
    /// If given, only a hold with this fence is extended.
    pub fence: Option<Fence>,
    /// If given, the fence is raised to this number unless it is larger already.
    pub raise: Option<Fence>,
}

/// The result of [`Step::release`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Released {
    /// The owner held the lock (with the fence, if one was given).
    Yes,
    /// It did not.
    NotHeld,
    /// The owner's hold is shared, so the lock cannot be cooling after it. Nothing was changed.
    IsShared,
}

impl Step<'_> {
    /// Asks for the lock.
    pub fn acquire(&mut self, request: Request<OwnerRef>, wait: Wait) -> Acquired {
        self.advance();
        if let Some((_, held, _)) = self.held_by(request.owner) {
            if !held.satisfies(request.mode) {
                return Acquired::MustRelease;
            }
            return self.reacquire(request).map_or(Acquired::Refused, |hold| Acquired::Granted(hold.fence));
        }
        // I4: those in the queue come first, also those that `advance` did not reach yet.
        let may_pass = self.queue.is_empty() || failpoints::is_on(Failpoint::NewcomerPasses);
        if !self.may_grant && wait == Wait::No {
            return Acquired::MayNotGrant;
        }
        if may_pass && self.may_grant && self.holders.admit(request.mode) {
            if self.is_full() {
                return Acquired::Full;
            }
            return Acquired::Granted(self.grant(request.with_owner(OwnerRef::to_owner), None).fence);
        }
        match wait {
            Wait::No => Acquired::Refused,
            Wait::Join { ticket, until } => {
                let request = request.with_owner(|owner| Rc::new(owner.to_owner()));
                let waiter = Waiter { request, since: self.now.steady, until, is_multi_key: false };
                self.queue.join(ticket, waiter);
                Acquired::Waits
            }
        }
    }

    /// Ends the owner's hold, and withdraws every request of that owner from the queue. With `cool`, nobody is granted the lock
    /// for that long; only an exclusive hold can be released so.
    ///
    /// With a fence, nothing happens unless the owner's hold carries it: a late duplicate of the command must touch neither a
    /// newer hold nor a newer wait of the same owner.
    pub fn release(&mut self, owner: OwnerRef, fence: Option<Fence>, cool: Option<Millis>) -> Released {
        self.advance();
        let anyone = failpoints::is_on(Failpoint::ReleaseByAnyone)
            .then(|| self.holders.iter().next().map(|(_, hold)| hold.owner.clone()));
        let owner = anyone.as_ref().and_then(Option::as_ref).map_or(owner, |anyone| anyone.borrow());
        let held = self.held_by(owner).map(|(id, mode, _)| (id, mode));
        let (held, is_shared) = (held.map(|(id, _)| id), held.is_some_and(|(_, mode)| mode != Mode::Exclusive));
        if fence.is_some() && held.map(|id| id.fence) != fence && !failpoints::is_on(Failpoint::ReleaseIgnoresFence) {
            return Released::NotHeld;
        }
        if is_shared && cool.is_some() {
            return Released::IsShared;
        }
        if !self.queue.is_empty() && !failpoints::is_on(Failpoint::ReleaseLeavesWaits) {
            for ticket in self.queue.tickets_of(owner) {
                self.queue.leave(ticket);
                self.effects.push(Effect::Answer(ticket, Answer::Withdrawn));
            }
        }
        if let Some(id) = held {
            self.end(id, End::Released);
            if let Some(length) = cool {
                self.cool(length, self.now.steady);
            }
        }
        // A waiter behind a withdrawn one may be let in now, too.
        self.advance();
        if held.is_some() {
            Released::Yes
        } else {
            Released::NotHeld
        }
    }

    /// Makes an exclusive hold a shared one, without a moment at which the lock is free. True if the owner holds the lock (with
    /// that fence, if one is given), also if its hold was shared already.
    pub fn downgrade(&mut self, owner: OwnerRef, fence: Option<Fence>) -> bool {
        self.advance();
        let Some((id, mode, _)) = self.held_by(owner) else { return false };
        if fence.is_some_and(|fence| fence != id.fence) {
            return false;
        }
        // The owner knows that it holds the lock, whatever became of the answers to its requests.
        self.queue.settle(id);
        match mode {
            Mode::Exclusive => {
                let mode = if failpoints::is_on(Failpoint::DowngradeLetsNobodyIn) {
                    Mode::Exclusive
                } else {
                    Mode::Shared(None)
                };
                if let Some(mut hold) = self.holders.remove(id) {
                    hold.terms.clear_delay();
                    let id = self.holders.put(mode, hold);
                    self.effects.push(Effect::Changed(id, HoldChange::Downgraded));
                    self.advance();
                }
            }
            Mode::Shared(_) => {}
        }
        true
    }

    /// Sets the lease, counted from now, and raises the fence. True if the owner holds the lock (with that fence, if one is
    /// given).
    pub fn extend(&mut self, asked: Extend) -> bool {
        self.advance();
        let Some((id, ..)) = self.held_by(asked.owner) else { return false };
        if asked.fence.is_some_and(|fence| fence != id.fence) {
            return false;
        }
        // The owner knows that it holds the lock, whatever became of the answers to its requests.
        self.queue.settle(id);
        let (now, fences) = (self.now.steady, &mut *self.fences);
        let extended = self.holders.update(id, |hold| {
            let before = hold.expires_at;
            let lease = asked.lease.unwrap_or(hold.terms.lease());
            hold.set_lease(lease, now);
            if failpoints::is_on(Failpoint::ExtensionAddsUp) {
                hold.expires_at = before + lease;
            }
            if failpoints::is_on(Failpoint::MaxIgnored) {
                hold.terms.set_lease(lease);
                hold.expires_at = now + lease;
            }
            if let Some(raised) = asked.raise.filter(|raised| *raised > hold.fence) {
                hold.fence = raised;
                fences.observe(raised);
            }
        });
        self.effects.extend(extended.map(|id| Effect::Changed(id, HoldChange::Extended)));
        true
    }
}
