//! One step of a lock: the only code that grants, and the only code that ends a hold.

use std::rc::Rc;

use super::effect::{Answer, Effect, End, HoldChange};
use super::fence::FenceClock;
use super::hold::{Cooling, Hold, HoldId, Mode, Origin, Session, Terms, User};
use super::holders::Holders;
use super::owner::{Owner, OwnerRef};
use super::queue::{Loss, Ticket, WaitQueue, Waiter};
use super::request::Request;
use super::rights::Rights;
use super::time::{Millis, Now, Steady};
use crate::failpoints::{self, Failpoint};

/// How many waiters one step serves at most. Each costs the server about 10 us. Tests cross this limit all the time.
const SERVED_MAX: usize = if cfg!(any(test, fuzzing)) { 2 } else { 128 };

/// How many expired holds one step ends at most, which takes a few tenths of a millisecond. The rest no longer counts against
/// newcomers, and is ended by later steps, of requests or of the timer.
const ENDED_MAX: usize = if cfg!(any(test, fuzzing)) { 4 } else { 512 };

/// One step: a lock, the time, and the list that the step's effects are appended to.
pub struct Step<'a> {
    /// The part of the lock that is saved: `Free` if there is no key.
    pub holders: &'a mut Holders,
    /// The part of the lock that is not saved.
    pub queue: &'a mut WaitQueue,
    /// The fence clock of the server.
    pub fences: &'a mut FenceClock,
    /// The largest number of holders that a lock may have.
    pub holders_max: usize,
    /// Whether this server may grant locks now. If not, holds go on, end and are reacquired, and waiters wait.
    pub may_grant: bool,
    /// The time, which stands still during the step.
    pub now: Now,
    /// Tells whether a waiter's user may still acquire the lock.
    pub rights: &'a mut dyn Rights,
    /// Receives what the step wants done.
    pub effects: &'a mut Vec<Effect>,
}

impl Step<'_> {
    /// Ends expired holds and cooling that is over, and serves the queue. Every step begins with it, so that nothing depends
    /// on a timer having run.
    #[inline(always)]
    pub fn advance(&mut self) {
        // Mostly there is nothing to do, and nothing is called for it.
        if self.holders.first_expiry().is_some_and(|end| end <= self.now.steady) {
            self.end_expired();
        }
        if !self.queue.is_empty() {
            self.serve_queue();
        }
    }

    #[cold]
    fn end_expired(&mut self) {
        for _ in 0..ENDED_MAX {
            let Some(id) = self.holders.first_expired(self.now.steady) else { break };
            self.end(id, End::Expired);
        }
        self.end_cooling();
        self.holders.exclude_expired(self.now.steady);
    }

    /// Frees a lock whose cooling is over.
    fn end_cooling(&mut self) {
        if matches!(self.holders, Holders::Cooling(cooling) if cooling.until <= self.now.steady) {
            *self.holders = Holders::Free;
            self.effects.push(Effect::Cooled);
        }
    }

    /// The owner's hold, unless its lease has expired.
    pub(super) fn held_by(&self, owner: OwnerRef) -> Option<(HoldId, Mode, &Hold)> {
        self.holders.of(owner).filter(|(_, _, hold)| !hold.is_expired(self.now.steady))
    }

    fn serve_queue(&mut self) {
        for _ in 0..SERVED_MAX {
            if !self.has_servable_waiter() {
                break;
            }
            self.serve_first();
        }
        let first = self.queue.first().filter(|(_, waiter)| waiter.is_multi_key && self.may_enter(waiter));
        if let Some((ticket, _)) = first {
            self.effects.push(Effect::Ready(ticket));
        }
    }

    /// Whether the first waiter of the queue need not wait any longer. If so, the lock is due for another step. A waiter for
    /// several locks waits for the others, too.
    pub fn has_servable_waiter(&self) -> bool {
        let may = |waiter: &Waiter| !waiter.is_multi_key && self.may_enter(waiter);
        self.queue.first().is_some_and(|(_, waiter)| waiter.has_timed_out(self.now.steady) || may(waiter))
    }

    /// Whether the first waiter can be granted this lock as it is held now.
    fn may_enter(&self, first: &Waiter) -> bool {
        self.may_grant && self.holders.admit(first.request.mode) && !self.is_full()
    }

    /// Brings the queue in step with holders that something outside the rules changed (the key was removed, replaced or
    /// loaded). Owners that hold the lock now stop waiting for themselves (I7), then the queue is served.
    pub fn reconcile(&mut self) {
        self.advance();
        let owners: Vec<Owner> = if self.holders.len() < self.queue.len() {
            self.holders.iter().map(|(_, hold)| hold.owner.clone()).collect()
        } else {
            self.queue.iter().map(|(_, waiter)| (*waiter.request.owner).clone()).collect()
        };
        for owner in &owners {
            self.answer_holder(owner.borrow());
        }
        self.advance();
    }

    /// Takes all requests of an owner that holds the lock out of the queue, and lets them reacquire it. False if the owner does
    /// not hold the lock.
    fn answer_holder(&mut self, owner: OwnerRef) -> bool {
        let Some((_, held, _)) = self.held_by(owner) else { return false };
        for ticket in self.queue.tickets_of(owner) {
            let request = self.take_if_satisfied(ticket, held);
            let reacquired = request.and_then(|request| self.reacquire(request.with_owner(|_| owner)));
            self.effects.extend(reacquired.map(|id| Effect::Answer(ticket, Answer::Granted(id))));
        }
        true
    }

    /// Takes a request out of the queue that a hold of the same owner, in this mode, satisfies. If nothing satisfies it, it is
    /// answered. A request for several locks stays: only [`Step::grant_one_of_several`] grants it.
    fn take_if_satisfied(&mut self, ticket: Ticket, held: Mode) -> Option<Request<Rc<Owner>>> {
        let waiter = self.queue.get(ticket)?;
        let (is_multi_key, user) = (waiter.is_multi_key, waiter.request.user);
        let answer = if waiter.has_timed_out(self.now.steady) {
            Answer::TimedOut
        } else if !held.satisfies(waiter.request.mode) {
            Answer::MustRelease
        } else if is_multi_key {
            self.effects.push(Effect::Ready(ticket));
            return None;
        } else if self.is_denied(user) {
            Answer::NoPermission
        } else {
            return self.queue.leave(ticket).map(|waiter| waiter.request);
        };
        self.queue.leave(ticket);
        self.effects.push(Effect::Answer(ticket, answer));
        None
    }

    /// The answer to this request, which granted this hold, did not reach its client. The hold ends unless its owner was told of
    /// it by another answer, or can still be.
    ///
    /// False if the hold was to end but is not here: it moved to another key, where [`Step::revoke`] ends it.
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

    /// Ends a hold whose owner could not be told of it, and that came to this key from another one after it was granted.
    pub fn revoke(&mut self, hold: HoldId) {
        self.advance();
        self.end_undelivered(hold);
        self.advance();
    }

    /// Ends a hold that was not delivered, unless its lease expired first. False if the hold is not here.
    fn end_undelivered(&mut self, hold: HoldId) -> bool {
        let Some((_, held)) = self.holders.get(hold) else { return false };
        if !held.is_expired(self.now.steady) {
            self.end(hold, End::Undelivered);
        }
        true
    }

    /// Ends the owner's hold if it is bound to this connection, which closed.
    ///
    /// False if an answer on this connection is still in flight. Then it is not known yet whether the hold is bound to it, and
    /// the question must be asked again when the answer is known to be lost.
    pub fn close(&mut self, owner: OwnerRef, session: Session) -> bool {
        self.advance();
        let Some((id, _, hold)) = self.held_by(owner) else { return true };
        if self.queue.has_answer_in_flight(id, session) {
            return false;
        }
        if hold.session == Some(session) && !failpoints::is_on(Failpoint::SessionOutlivesConnection) {
            self.end(id, End::Closed);
            self.advance();
        }
        true
    }

    /// Grants the lock again to the owner that holds it. The fence stays, unless the hold is inherited; the lease ends at the
    /// later of the two moments; the hold is bound to the session of this request.
    pub(super) fn reacquire(&mut self, request: Request<OwnerRef>) -> Option<HoldId> {
        let Request { owner, lease, session, user, .. } = request;
        let (id, ..) = self.held_by(owner)?;
        self.queue.settle(id);
        let (now, fences) = (self.now, &mut *self.fences);
        let mut changed = false;
        let id = self.holders.update(id, |hold| {
            if hold.cut(lease, now.steady).1 > hold.expires_at {
                hold.set_lease(lease, now.steady);
                changed = true;
            }
            // A hold from before this server was a replica is inherited too, though it never left its memory.
            let is_inherited = hold.terms.origin() == Origin::Inherited || fences.is_of_earlier_term(hold.fence);
            if is_inherited || failpoints::is_on(Failpoint::NewFenceWhenReacquired) {
                // I3: larger fences than the inherited one may have been given and lost.
                (hold.fence, changed) = (fences.next(now.unix), true);
                hold.terms.set_origin(Origin::Granted);
            }
            if hold.terms.user().is_none() {
                hold.terms = hold.terms.by(user);
            }
        })?;
        if changed {
            self.effects.push(Effect::Changed(id, HoldChange::Reacquired));
        }
        self.rebind(id, session);
        Some(id)
    }

    /// Binds a hold to another connection, or to none.
    fn rebind(&mut self, id: HoldId, session: Option<Session>) {
        if failpoints::is_on(Failpoint::OldSessionEndsHold) {
            return;
        }
        let Some((_, hold)) = self.holders.get(id).filter(|(_, hold)| hold.session != session) else { return };
        self.effects.push(Effect::Rebound(id, hold.owner.clone(), hold.session));
        self.holders.update(id, |hold| hold.session = session);
    }

    /// Takes the first waiter out of the queue and grants it the lock, or tells it that its wait timed out.
    ///
    /// Other requests of the same owner that this grant satisfies are answered with the same hold. The longest lease among them
    /// counts, and the last of them decides about the session.
    fn serve_first(&mut self) {
        let is_last = failpoints::is_on(Failpoint::GrantOutOfOrder);
        let next = if is_last { self.queue.iter().last() } else { self.queue.first() };
        let Some((ticket, waiter)) = next else { return };
        let (has_timed_out, owner) = (waiter.has_timed_out(self.now.steady), Rc::clone(&waiter.request.owner));
        if waiter.is_multi_key && !has_timed_out {
            return;
        }
        // Only after something outside the rules: the owner must not be granted the lock a second time.
        if !has_timed_out && self.answer_holder((*owner).borrow()) {
            return;
        }
        let Some(first) = self.queue.leave(ticket) else { return };
        if first.has_timed_out(self.now.steady) {
            self.effects.push(Effect::Answer(ticket, Answer::TimedOut));
            return;
        }
        if self.is_denied(first.request.user) {
            self.effects.push(Effect::Answer(ticket, Answer::NoPermission));
            return;
        }
        self.grant_waiter(ticket, first);
    }

    /// Grants the lock to a waiter, which has left the queue, and to the other requests of its owner that this satisfies. They
    /// are answered; a request for several locks is answered by the caller, when it has all of them.
    pub(super) fn grant_waiter(&mut self, ticket: Ticket, first: Waiter) -> HoldId {
        let mut request = first.request;
        let mut served = if first.is_multi_key { Vec::new() } else { vec![ticket] };
        let mut answers = vec![(ticket, request.session)];
        let owner = Rc::clone(&request.owner);
        for ticket in self.queue.tickets_of((*owner).borrow()) {
            let Some(asked) = self.take_if_satisfied(ticket, request.mode) else { continue };
            served.push(ticket);
            answers.push((ticket, asked.session));
            (request.lease, request.session) = (request.lease.max(asked.lease), asked.session);
        }
        let id = self.grant(request.with_owner(|owner| (*owner).clone()), Some(first.since));
        self.queue.start_delivery(id, answers);
        self.effects.extend(served.into_iter().map(|ticket| Effect::Answer(ticket, Answer::Granted(id))));
        id
    }

    /// Whether a waiter's user may not acquire the lock any more (I8).
    fn is_denied(&mut self, user: Option<User>) -> bool {
        user.is_some_and(|user| !self.rights.may_acquire(user)) && !failpoints::is_on(Failpoint::RightsNotAsked)
    }

    /// Makes a hold. Every grant goes through here, and only here does a new hold get its fence.
    pub(super) fn grant(&mut self, request: Request<Owner>, waited_since: Option<Steady>) -> HoldId {
        let Request { owner, mode, lease, max, delay, session, user } = request;
        self.make_room(owner.borrow(), mode);
        let (since, fence) = (self.now.steady, self.fences.next(self.now.unix));
        let lasts = max.map_or(lease, |max| lease.min(max));
        let terms = Terms::granted(lasts, max, delay, user);
        let expires_at = since + if failpoints::is_on(Failpoint::LeaseEndsEarly) { Millis(lasts.0 / 2) } else { lasts };
        let hold = Hold { owner, fence, expires_at, since, terms, session };
        let id = self.holders.put(mode, hold);
        self.effects.push(Effect::Granted(id, waited_since));
        id
    }

    /// Takes out expired holds that are in the way of a new one: that of the same owner, and all if the new one is exclusive.
    fn make_room(&mut self, owner: OwnerRef, mode: Mode) {
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

    /// Whether the lock has as many holders as it may have.
    pub(super) fn is_full(&self) -> bool {
        self.holders.in_force() >= self.holders_max
    }

    /// Ends the hold of this id, if there is one. The lock is cooling afterwards if the hold has a DELAY and its owner did not
    /// release it.
    #[inline]
    pub(super) fn end(&mut self, id: HoldId, why: End) {
        self.queue.settle(id);
        let Some(hold) = self.holders.remove(id) else { return };
        let from = match why {
            End::Expired => Some(hold.expires_at),
            End::Closed => Some(self.now.steady),
            End::Released | End::Undelivered => None,
        };
        let delayed = from.and_then(|from| Some((hold.terms.delay()?, from)));
        self.effects.push(Effect::Ended(hold, why));
        if let Some((delay, from)) = delayed.filter(|_| !failpoints::is_on(Failpoint::DelayIgnored)) {
            self.cool(delay, from);
        }
    }

    /// Nobody is granted the lock, which has just become free, for this long after `from`.
    pub(super) fn cool(&mut self, length: Millis, from: Steady) {
        let until = from + length;
        if *self.holders == Holders::Free && until > self.now.steady {
            *self.holders = Holders::Cooling(Cooling { until, length });
            self.effects.push(Effect::Cools);
        }
    }
}
