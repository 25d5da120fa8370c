//! One step of the rules on one key, and what follows from it, in this order: the key's value, replication, deadlines, then
//! counters, sessions, keyspace events and answers.

use std::mem;
use std::rc::Rc;

use super::agenda::Task;
use super::names::KeyRef;
use super::server::{Found, Key, KeyEvent, Reply, Waiting, WrongType};
use super::sessions::SessionState;
use super::state::Engine;
use super::wait_table::Left;
use crate::lock::{Answer, Effect, End, HoldChange, HoldId, Now, Owner, Session, SharedHolders, Step, Ticket};

/// The number of expired holds that are reported at a time.
const REPORTED_MAX: usize = 64;
/// The number of effects for which the list of a step's effects keeps its memory.
const EFFECTS_KEPT: usize = 256;

impl<W: Waiting> Engine<W> {
    /// Takes one step of the rules on one key, and does what follows from it.
    pub(super) fn step<K: Key, R>(
        &mut self,
        at: KeyRef,
        key: &mut K,
        now: Now,
        rules: impl FnOnce(&mut Step) -> R,
    ) -> Result<R, WrongType> {
        match (key.found(), &mut self.cluster.settled_slots) {
            (Found::Other, _) => {
                for ticket in self.waits.dissolve(at) {
                    self.answer(ticket, |_| Reply::WrongType);
                }
                return Err(WrongType);
            }
            (Found::Free, Some(slots)) => slots.enter(at.name, &mut self.fences, now),
            (Found::Free | Found::Lock, _) => {}
        }
        let (queue, had_queue) = self.waits.lend(at);
        let mut effects = mem::take(&mut self.scratch.effects);
        let mut rights = key.rights();
        let mut step = Step {
            holders: key.stored().map_or(&mut self.scratch.no_holders, |stored| &mut stored.holders),
            queue,
            fences: &mut self.fences,
            holders_max: self.settings.holders_max(),
            may_grant: self.quarantine.may_grant(now.steady),
            now,
            rights: &mut rights,
            effects: &mut effects,
        };
        let result = rules(&mut step);
        if had_queue && step.has_servable_waiter() {
            self.agenda.advance(at);
        }
        if had_queue || self.waits.is_spare_used() {
            let holders = key.stored().map_or(&self.scratch.no_holders, |stored| &stored.holders);
            self.waits.take_back(at, had_queue, holders);
        }
        self.record(at, key, now, &effects);
        self.agenda.budget.charge_steps(1 + effects.len());
        // They are announced in their order. Popping them from the end costs less than `drain`.
        effects.reverse();
        while let Some(effect) = effects.pop() {
            self.announce(at, key, now, effect);
        }
        // The memory of a large step is given back.
        if effects.capacity() > EFFECTS_KEPT {
            effects.shrink_to(EFFECTS_KEPT);
        }
        // The list that stood in its place is empty. Forgetting it saves the call that would drop it.
        mem::forget(mem::replace(&mut self.scratch.effects, effects));
        #[cfg(debug_assertions)]
        self.check_step(at, key);
        Ok(result)
    }

    /// Announces a recorded effect: to counters, sessions, keyspace events and waiters.
    fn announce<K: Key>(&mut self, at: KeyRef, key: &mut K, now: Now, effect: Effect) {
        self.stats.count(&effect, now);
        match effect {
            Effect::Granted(hold, _) => {
                self.bind(at, key, hold);
                self.events.push(KeyEvent::Acquire);
            }
            Effect::Changed(_, HoldChange::Reacquired) => {}
            Effect::Changed(hold, HoldChange::Extended) => {
                // Its name may be another since it was granted in this very step.
                self.bind(at, key, hold);
                self.events.push(KeyEvent::Extend);
            }
            Effect::Changed(_, HoldChange::Downgraded) => self.events.push(KeyEvent::Downgrade),
            Effect::Rebound(hold, owner, before) => {
                if let Some(before) = before {
                    self.sessions.unbind(before, at, &owner);
                }
                self.bind(at, key, hold);
            }
            Effect::Ended(hold, why) => {
                if let Some(session) = hold.session {
                    // Its owner may hold again by now, and with the same connection.
                    let again = key.stored().and_then(|stored| stored.holders.of(hold.owner.borrow()));
                    if again.is_none_or(|(_, _, again)| again.session != Some(session)) {
                        self.sessions.unbind(session, at, &hold.owner);
                    }
                }
                self.events.push(match why {
                    End::Released | End::Undelivered => KeyEvent::Release,
                    End::Expired => KeyEvent::Expire,
                    End::Closed => KeyEvent::Session,
                });
            }
            Effect::Cools => {}
            Effect::Cooled => self.events.push(KeyEvent::Cooled),
            Effect::Expired(holds) => self.agenda.push_expired(at.to_id(), holds),
            Effect::Ready(ticket) => {
                if self.waits.becomes_due(at, ticket) {
                    self.agenda.push(Task::GrantTogether(at.to_id(), ticket));
                }
            }
            Effect::Answer(ticket, Answer::Granted(hold)) => {
                self.agenda.budget.charge_answer();
                self.waits.answer(ticket, |made_owner| Reply::Granted(hold, ticket, made_owner));
            }
            Effect::Answer(ticket, Answer::TimedOut) => self.time_out(ticket),
            Effect::Answer(ticket, Answer::Withdrawn) => {
                self.stats.waits_withdrawn += 1;
                self.answer(ticket, |_| Reply::Null);
            }
            Effect::Answer(ticket, Answer::MustRelease) => self.answer(ticket, |_| Reply::MustRelease),
            Effect::Answer(ticket, Answer::NoPermission) => {
                self.stats.waits_denied += 1;
                self.agenda.budget.charge_answer();
                self.answer(ticket, |_| Reply::NoPermission);
            }
        }
    }

    /// Announces the end of some holds that had expired and made room for an exclusive one, and takes them out of `holds`.
    pub(super) fn report_expired<K: Key>(&mut self, at: KeyRef, key: &mut K, now: Now, holds: &mut SharedHolders) {
        for _ in 0..REPORTED_MAX {
            let Some(shared) = holds.first_expiry().and_then(|(_, id)| holds.remove(id)) else { return };
            self.agenda.budget.charge_steps(1);
            self.announce(at, key, now, Effect::Ended(shared.hold, End::Expired));
        }
    }

    /// Answers a waiter whose wait ran out. Its request has left its queue.
    pub(super) fn time_out(&mut self, ticket: Ticket) {
        self.stats.wait_timeouts += 1;
        self.agenda.budget.charge_answer();
        self.answer(ticket, |_| Reply::Null);
    }

    /// Takes note of the connection that a hold ends with.
    pub(super) fn bind<K: Key>(&mut self, at: KeyRef, key: &mut K, hold: HoldId) {
        let Some((_, hold)) = key.stored().and_then(|stored| stored.holders.get(hold)) else { return };
        if let Some(session) = hold.session {
            self.bind_session(at, &hold.owner, session);
        }
    }

    /// Takes note that this owner's hold ends with a connection. If the connection has closed, the next tick ends the hold.
    pub(super) fn bind_session(&mut self, at: KeyRef, owner: &Owner, session: Session) {
        match self.sessions.bind(session, at, owner) {
            SessionState::Open | SessionState::Forgotten => {}
            SessionState::Closed => self.agenda.push(Task::Close(at.to_id(), owner.clone(), session)),
        }
    }

    /// A client stops waiting, but stays parked: its request leaves its queue, or all of them.
    pub(super) fn leave_parked(&mut self, ticket: Ticket) {
        for key in self.waits.keys_of(ticket) {
            self.leave_queue(key.borrow(), ticket);
        }
    }

    /// Answers a client whose request has left a queue. If the request is for several locks, it leaves their queues as well.
    pub(super) fn answer(&mut self, ticket: Ticket, reply: impl FnOnce(Option<Rc<Owner>>) -> Reply) {
        for key in self.waits.leave_other_queues(ticket) {
            self.agenda.advance(key.borrow());
        }
        self.waits.answer(ticket, reply);
    }

    /// A request leaves its queue without having been served. The one behind it may have waited for nothing else.
    pub(super) fn leave_queue(&mut self, at: KeyRef, ticket: Ticket) {
        match self.waits.leave(at, ticket) {
            Left::NextMayEnter => self.agenda.advance(at),
            Left::NothingElse => {}
        }
    }
}
