//! One step of a lock: the only code that grants, and the only code that ends a hold.

use std::rc::Rc;

use super::effect::{Answer, Effect, End, HoldChange};
use super::fence::{Fence, FenceClock};
use super::hold::{Hold, HoldId, Mode, Origin, Session, User};
use super::holders::Holders;
use super::owner::{Owner, OwnerRef};
use super::queue::{Loss, Ticket, WaitQueue, Waiter};
use super::rights::Rights;
use super::time::{Millis, Now, Steady};
use crate::failpoints::{self, Failpoint};

/// How many waiters one step serves at most. Each costs the server some 10 us. Tests cross this limit all the time.
const SERVED_MAX: usize = if cfg!(any(test, fuzzing)) { 2 } else { 128 };

/// How many leases that have run out are ended at once: some tenths of a millisecond. Those left over count for nobody and are
/// ended by later steps, of requests or of the timer.
const ENDED_MAX: usize = if cfg!(any(test, fuzzing)) { 4 } else { 512 };

/// A request for the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acquire<'a> {
    /// For whom.
    pub owner: OwnerRef<'a>,
    /// How to hold.
    pub mode: Mode,
    /// For how long, from the grant.
    pub lease: Millis,
    /// The connection that the hold is to end with.
    pub session: Option<Session>,
    /// Who asks.
    pub user: Option<User>,
    /// What to do while it is busy.
    pub wait: Wait,
}

/// What a request does while the lock is busy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// It is refused.
    No,
    /// It joins the queue under this ticket; `until` is `None` for a wait without limit.
    Join {
        /// Larger than every ticket before it.
        ticket: Ticket,
        /// When the wait runs out.
        until: Option<Steady>,
    },
}

/// A hold that is about to begin.
struct Wanted {
    owner: Owner,
    mode: Mode,
    lease: Millis,
    session: Option<Session>,
    user: Option<User>,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acquired {
    /// The owner holds the lock, under this fence.
    Granted(Fence),
    /// Somebody else holds it, or waits for it.
    Refused,
    /// The request waits in the queue.
    Waits,
    /// The owner holds the lock shared and asks to hold it alone. Two that did would wait for one another for ever.
    MustRelease,
    /// As many hold it together as may.
    Full,
}

/// A change of the lease or the fence of a running hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extend<'a> {
    /// Whose hold.
    pub owner: OwnerRef<'a>,
    /// The lease from now on; `None`: as long as it was last given.
    pub lease: Option<Millis>,
    /// Only the hold with this fence.
    pub fence: Option<Fence>,
    /// The least that the fence is to be from now on.
    pub raise: Option<Fence>,
}

/// One step: a lock, the clocks, and where the effects go.
pub struct Step<'a> {
    /// What is saved. `Free` where there is no key.
    pub holders: &'a mut Holders,
    /// What is not.
    pub queue: &'a mut WaitQueue,
    /// The server's fence clock.
    pub fences: &'a mut FenceClock,
    /// The most that may hold together.
    pub holders_max: usize,
    /// The clocks' reading, the same for the whole step.
    pub now: Now,
    /// Asked of those who wait, when it is their turn.
    pub rights: &'a mut dyn Rights,
    /// Appended to.
    pub effects: &'a mut Vec<Effect>,
}

impl Step<'_> {
    /// Asks for the lock.
    pub fn acquire(&mut self, asked: Acquire) -> Acquired {
        self.advance();
        if let Some((_, held, _)) = self.held_by(asked.owner) {
            if !held.satisfies(asked.mode) {
                return Acquired::MustRelease;
            }
            let again = self.reacquire(asked.owner, asked.lease, asked.session, asked.user);
            return again.map_or(Acquired::Refused, |hold| Acquired::Granted(hold.fence));
        }
        // I4: whoever is in the queue comes first, also those that `advance` has not come to yet.
        let may_pass = self.queue.is_empty() || failpoints::is_on(Failpoint::NewcomerPasses);
        if may_pass && self.holders.admit(asked.mode) {
            if self.is_full() {
                return Acquired::Full;
            }
            let Acquire { owner, mode, lease, session, user, wait: _ } = asked;
            let wanted = Wanted { owner: owner.to_owner(), mode, lease, session, user };
            return Acquired::Granted(self.grant(wanted, None).fence);
        }
        match asked.wait {
            Wait::No => Acquired::Refused,
            Wait::Join { ticket, until } => {
                let Acquire { mode, lease, session, user, .. } = asked;
                let owner = Rc::new(asked.owner.to_owner());
                self.queue.join(ticket, Waiter { owner, mode, lease, since: self.now.steady, until, session, user });
                Acquired::Waits
            }
        }
    }

    /// Ends the owner's hold and withdraws what else it asked for here; with a fence, only if its hold bears it: a late
    /// duplicate must touch neither a newer hold nor a newer wait of the same owner. True if it held.
    pub fn release(&mut self, owner: OwnerRef, fence: Option<Fence>) -> bool {
        self.advance();
        let anyone = failpoints::is_on(Failpoint::ReleaseByAnyone)
            .then(|| self.holders.iter().next().map(|(_, hold)| hold.owner.clone()));
        let owner = anyone.as_ref().and_then(Option::as_ref).map_or(owner, |anyone| anyone.borrow());
        let held = self.held_by(owner).map(|(id, ..)| id);
        if fence.is_some() && held.map(|id| id.fence) != fence && !failpoints::is_on(Failpoint::ReleaseIgnoresFence) {
            return false;
        }
        if !self.queue.is_empty() && !failpoints::is_on(Failpoint::ReleaseLeavesWaits) {
            let withdrawn = self.queue.take_of(owner).into_iter();
            self.effects.extend(withdrawn.map(|(ticket, _)| Effect::Answer(ticket, Answer::Withdrawn)));
        }
        if let Some(id) = held {
            self.end(id, End::Released);
        }
        // Also whoever stood behind a wait that was withdrawn may be let in now.
        self.advance();
        held.is_some()
    }

    /// Makes an exclusive hold a shared one, without a moment at which the lock is free. True if the owner held (under that
    /// fence), exclusive or shared already.
    pub fn downgrade(&mut self, owner: OwnerRef, fence: Option<Fence>) -> bool {
        self.advance();
        let Some((id, mode, _)) = self.held_by(owner) else { return false };
        if fence.is_some_and(|fence| fence != id.fence) {
            return false;
        }
        // The owner knows that it holds, whatever became of the answers to its requests.
        self.queue.settle(id);
        match mode {
            Mode::Exclusive => {
                let mode = if failpoints::is_on(Failpoint::DowngradeLetsNobodyIn) {
                    Mode::Exclusive
                } else {
                    Mode::Shared(None)
                };
                if let Some(hold) = self.holders.remove(id) {
                    let id = self.holders.put(mode, hold);
                    self.effects.push(Effect::Changed(id, HoldChange::Downgraded));
                    self.advance();
                }
            }
            Mode::Shared(_) => {}
        }
        true
    }

    /// Sets the lease, counted from now, and raises the fence. True if the owner held (under that fence).
    pub fn extend(&mut self, asked: Extend) -> bool {
        self.advance();
        let Some((id, ..)) = self.held_by(asked.owner) else { return false };
        if asked.fence.is_some_and(|fence| fence != id.fence) {
            return false;
        }
        // As in `downgrade`.
        self.queue.settle(id);
        let (now, fences) = (self.now.steady, &mut *self.fences);
        let extended = self.holders.update(id, |hold| {
            hold.lease = asked.lease.unwrap_or(hold.lease);
            hold.expires_at =
                if failpoints::is_on(Failpoint::ExtensionAddsUp) { hold.expires_at } else { now } + hold.lease;
            if let Some(raised) = asked.raise.filter(|raised| *raised > hold.fence) {
                hold.fence = raised;
                fences.observe(raised);
            }
        });
        self.effects.extend(extended.map(|id| Effect::Changed(id, HoldChange::Extended)));
        true
    }

    /// Ends what is over and serves the queue. Every step begins with it, so nothing depends on a timer having run.
    pub fn advance(&mut self) {
        // Mostly there is nothing to do, and nothing is called for it.
        if self.holders.first_expired(self.now.steady).is_some() {
            self.end_expired();
        }
        if !self.queue.is_empty() {
            self.serve_queue();
        }
    }

    fn end_expired(&mut self) {
        for _ in 0..ENDED_MAX {
            let Some(id) = self.holders.first_expired(self.now.steady) else { return };
            self.end(id, End::Expired);
        }
        self.holders.exclude_expired(self.now.steady);
    }

    /// The owner's hold, unless its lease has run out.
    fn held_by(&self, owner: OwnerRef) -> Option<(HoldId, Mode, &Hold)> {
        self.holders.of(owner).filter(|(_, _, hold)| !hold.is_expired(self.now.steady))
    }

    fn serve_queue(&mut self) {
        for _ in 0..SERVED_MAX {
            if !self.is_unserved() {
                break;
            }
            self.serve_first();
        }
    }

    /// Whether the first in the queue need not wait any longer: then the lock takes another turn soon.
    pub fn is_unserved(&self) -> bool {
        let may = |waiter: &Waiter| self.holders.admit(waiter.mode) && !self.is_full();
        self.queue.first().is_some_and(|(_, waiter)| waiter.has_timed_out(self.now.steady) || may(waiter))
    }

    /// After something outside the rules changed the lock (it was removed, replaced, loaded): owners that hold now stop
    /// waiting for themselves (I7), then the queue is served.
    pub fn reconcile(&mut self) {
        self.advance();
        let owners: Vec<Owner> = if self.holders.len() < self.queue.len() {
            self.holders.iter().map(|(_, hold)| hold.owner.clone()).collect()
        } else {
            self.queue.iter().map(|(_, waiter)| (*waiter.owner).clone()).collect()
        };
        for owner in &owners {
            self.answer_holder(owner.borrow());
        }
        self.advance();
    }

    /// Takes all requests of an owner that holds out of the queue: they ask again. False if it does not hold.
    fn answer_holder(&mut self, owner: OwnerRef) -> bool {
        let Some((_, held, _)) = self.held_by(owner) else { return false };
        for (ticket, waiter) in self.queue.take_of(owner) {
            let answer = if waiter.has_timed_out(self.now.steady) {
                Some(Answer::TimedOut)
            } else if !held.satisfies(waiter.mode) {
                Some(Answer::MustRelease)
            } else if self.is_denied(waiter.user) {
                Some(Answer::NoPermission)
            } else {
                self.reacquire(owner, waiter.lease, waiter.session, waiter.user).map(Answer::Granted)
            };
            self.effects.extend(answer.map(|answer| Effect::Answer(ticket, answer)));
        }
        true
    }

    /// This answer with this hold found nobody. Unless the owner was or can still be told, the hold ends. False if it was to end
    /// and is not here: see [`Step::revoke`].
    pub fn undelivered(&mut self, hold: HoldId, ticket: Ticket) -> bool {
        self.advance();
        let is_here = match self.queue.undelivered(hold, ticket) {
            Loss::Nothing => true,
            Loss::OneOfSeveral(session) => {
                self.rebind(hold, session);
                true
            }
            Loss::LastHope if failpoints::is_on(Failpoint::UndeliveredGrantKept) => true,
            Loss::LastHope => self.end_undelivered(hold),
        };
        self.advance();
        is_here
    }

    /// This hold, of whose grant nobody could be told, was made under another name and came here with the lock's value: it ends.
    pub fn revoke(&mut self, hold: HoldId) {
        self.advance();
        self.end_undelivered(hold);
        self.advance();
    }

    /// True if the hold was here.
    fn end_undelivered(&mut self, hold: HoldId) -> bool {
        let Some((_, held)) = self.holders.get(hold) else { return false };
        if !held.is_expired(self.now.steady) {
            self.end(hold, End::Undelivered);
        }
        true
    }

    /// The connection closed that this owner's hold may be bound to. False if an answer on it is still on its way: whether the
    /// hold is bound to it shows when that is known not to have arrived.
    pub fn close(&mut self, owner: OwnerRef, session: Session) -> bool {
        self.advance();
        let Some((id, _, hold)) = self.held_by(owner) else { return true };
        if self.queue.is_on_its_way(id, session) {
            return false;
        }
        if hold.session == Some(session) && !failpoints::is_on(Failpoint::SessionOutlivesConnection) {
            self.end(id, End::Closed);
            self.advance();
        }
        true
    }

    /// An owner that holds asks again: the same fence, unless the hold is inherited; the later of the two ends; and this
    /// request's session.
    fn reacquire(
        &mut self,
        owner: OwnerRef,
        lease: Millis,
        session: Option<Session>,
        user: Option<User>,
    ) -> Option<HoldId> {
        let (id, ..) = self.held_by(owner)?;
        self.queue.settle(id);
        let (now, fences) = (self.now, &mut *self.fences);
        let mut changed = false;
        let id = self.holders.update(id, |hold| {
            let expires_at = now.steady + lease;
            if expires_at > hold.expires_at {
                (hold.expires_at, hold.lease, changed) = (expires_at, lease, true);
            }
            // A hold from before this server was a replica is inherited too, though it never left its memory.
            let is_inherited = hold.origin == Origin::Inherited || fences.is_of_earlier_term(hold.fence);
            if is_inherited || failpoints::is_on(Failpoint::NewFenceWhenReacquired) {
                // I3: numbers above the inherited one may have been given and lost.
                (hold.fence, hold.origin, changed) = (fences.next(now.unix), Origin::Granted, true);
            }
            hold.user = hold.user.or(user);
        })?;
        if changed {
            self.effects.push(Effect::Changed(id, HoldChange::Reacquired));
        }
        self.rebind(id, session);
        Some(id)
    }

    /// Lets a hold follow another connection, or none.
    fn rebind(&mut self, id: HoldId, session: Option<Session>) {
        if failpoints::is_on(Failpoint::OldSessionEndsHold) {
            return;
        }
        let Some((_, hold)) = self.holders.get(id).filter(|(_, hold)| hold.session != session) else { return };
        self.effects.push(Effect::Rebound(id, hold.owner.clone(), hold.session));
        self.holders.update(id, |hold| hold.session = session);
    }

    /// Takes the first out of the queue. It is granted, and its owner's other requests that this satisfies are answered with
    /// the same hold; the longest lease among them counts, and the last of them decides about the session. If its wait has
    /// run out it is told so instead.
    fn serve_first(&mut self) {
        let is_last = failpoints::is_on(Failpoint::GrantOutOfOrder);
        let next = if is_last { self.queue.iter().last() } else { self.queue.first() };
        let Some((ticket, waiter)) = next else { return };
        let (over, owner) = (waiter.has_timed_out(self.now.steady), Rc::clone(&waiter.owner));
        // Only after something outside the rules: it must not be granted a second time.
        if !over && self.answer_holder((*owner).borrow()) {
            return;
        }
        let Some(first) = self.queue.leave(ticket) else { return };
        if first.has_timed_out(self.now.steady) {
            self.effects.push(Effect::Answer(ticket, Answer::TimedOut));
            return;
        }
        if self.is_denied(first.user) {
            self.effects.push(Effect::Answer(ticket, Answer::NoPermission));
            return;
        }
        let mut served = vec![ticket];
        let mut answers = vec![(ticket, first.session)];
        let (mut lease, mut session) = (first.lease, first.session);
        for (ticket, other) in self.queue.take_of((*first.owner).borrow()) {
            if other.has_timed_out(self.now.steady) {
                self.effects.push(Effect::Answer(ticket, Answer::TimedOut));
            } else if !first.mode.satisfies(other.mode) {
                self.effects.push(Effect::Answer(ticket, Answer::MustRelease));
            } else if self.is_denied(other.user) {
                self.effects.push(Effect::Answer(ticket, Answer::NoPermission));
            } else {
                served.push(ticket);
                answers.push((ticket, other.session));
                (lease, session) = (lease.max(other.lease), other.session);
            }
        }
        let wanted = Wanted { owner: (*first.owner).clone(), mode: first.mode, lease, session, user: first.user };
        let id = self.grant(wanted, Some(first.since));
        self.queue.start_delivery(id, answers);
        self.effects.extend(served.into_iter().map(|ticket| Effect::Answer(ticket, Answer::Granted(id))));
    }

    /// Whether a waiter's user may not ask any more (I8).
    fn is_denied(&mut self, user: Option<User>) -> bool {
        user.is_some_and(|user| !self.rights.may_ask(user)) && !failpoints::is_on(Failpoint::RightsNotAsked)
    }

    /// Makes every grant there is, and alone draws a new hold's fence.
    fn grant(&mut self, wanted: Wanted, waited_since: Option<Steady>) -> HoldId {
        let Wanted { owner, mode, lease, session, user } = wanted;
        self.clear_the_way(owner.borrow(), mode);
        let (since, origin, fence) = (self.now.steady, Origin::Granted, self.fences.next(self.now.unix));
        let expires_at = since + if failpoints::is_on(Failpoint::LeaseEndsEarly) { Millis(lease.0 / 2) } else { lease };
        let hold = Hold { owner, fence, expires_at, lease, since, origin, session, user };
        let id = self.holders.put(mode, hold);
        self.effects.push(Effect::Granted(id, waited_since));
        id
    }

    /// Holds that count for nobody make room for a new one: that of its owner, and all if it is to be alone.
    fn clear_the_way(&mut self, owner: OwnerRef, mode: Mode) {
        if *self.holders == Holders::Free {
            return;
        }
        if let Some((id, ..)) = self.holders.of(owner) {
            self.end(id, End::Expired);
        }
        if mode == Mode::Exclusive {
            self.effects.extend(self.holders.take_expired().map(Effect::Expired));
        }
    }

    /// Whether nobody more may be let in, whatever they ask for.
    fn is_full(&self) -> bool {
        self.holders.in_force() >= self.holders_max
    }

    /// Ends the hold of this name, if there is one.
    fn end(&mut self, id: HoldId, why: End) {
        self.queue.settle(id);
        if let Some(hold) = self.holders.remove(id) {
            self.effects.push(Effect::Ended(hold, why));
        }
    }
}
