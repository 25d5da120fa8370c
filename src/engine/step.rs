//! One step of the rules on one key, and what follows from it, in this order: the key's value, replication, deadlines, then
//! whom it concerns.

use std::mem;

use super::names::KeyRef;
use super::server::{Found, Key, KeyEvent, Reply, Stored, Waiting};
use super::slots::Slot;
use super::tick::Task;
use super::{sessions, Engine, WrongType};
use crate::failpoints::{self, Failpoint};
use crate::lock::{Answer, Effect, End, HoldChange, HoldId, Holders, Mode, Now, OwnerRef, SharedHolders, Step, Ticket};
use crate::wire::{ChangeKind, EffectWriter};

impl<W: Waiting> Engine<W> {
    /// One step of the rules on one key, and what follows from it.
    pub(super) fn step<K: Key, R>(
        &mut self,
        at: KeyRef,
        key: &mut K,
        now: Now,
        rules: impl FnOnce(&mut Step) -> R,
    ) -> Result<R, WrongType> {
        match (key.found(), &mut self.settled_slots) {
            (Found::Other, _) => {
                self.turn_away(at);
                return Err(WrongType);
            }
            (Found::Free, Some(slots)) => slots.enter(at.name, &mut self.fences, now),
            (Found::Free | Found::Lock, _) => {}
        }
        let known_queue = self.queues.get_mut(at);
        let had_queue = known_queue.is_some();
        let mut effects = mem::take(&mut self.effects);
        let mut rights = key.rights();
        let mut step = Step {
            holders: key.stored().map_or(&mut self.no_holders, |stored| &mut stored.holders),
            queue: known_queue.unwrap_or(&mut self.no_queue),
            fences: &mut self.fences,
            holders_max: self.settings.holders_max(),
            now,
            rights: &mut rights,
            effects: &mut effects,
        };
        let result = rules(&mut step);
        if had_queue && step.has_servable_waiter() {
            self.come_again(at);
        }
        if had_queue {
            self.queues.remove_if_idle(at);
        } else if !self.no_queue.is_idle() {
            self.queues.insert(at, mem::take(&mut self.no_queue));
        }
        self.record(at, key, now, &effects);
        let has_queue = self.queues.get(at).is_some();
        if had_queue || has_queue {
            self.contended.note(at, key.stored().map(|stored| &stored.holders), has_queue);
        }
        self.spent.steps += 1 + effects.len();
        // In their order. Taken from the end they cost less than by `drain`.
        effects.reverse();
        while let Some(effect) = effects.pop() {
            self.tell(at, key, now, effect);
        }
        // The memory of a large step is given back.
        if effects.capacity() > EFFECTS_KEPT {
            effects.shrink_to(EFFECTS_KEPT);
        }
        self.effects = effects;
        Ok(result)
    }

    /// Brings value, replicas and deadlines to where the step left the lock.
    fn record<K: Key>(&mut self, at: KeyRef, key: &mut K, now: Now, effects: &[Effect]) {
        let (mut is_changed, mut is_signalled) = (false, false);
        // A hold may come and go within one step. Fences tell which did: those of this step are above all before it.
        let (mut granted, mut first_granted) = (0usize, None);
        for effect in effects {
            match effect {
                Effect::Granted(hold, _) => {
                    (granted, is_signalled) = (granted + 1, true);
                    first_granted = first_granted.or(Some(hold.fence));
                }
                Effect::Changed(_, HoldChange::Reacquired | HoldChange::Extended) => is_changed = true,
                Effect::Changed(_, HoldChange::Downgraded) => (is_changed, is_signalled) = (true, true),
                Effect::Ended(hold, _) => {
                    let is_new = first_granted.is_some_and(|first| hold.fence >= first);
                    granted = granted.saturating_sub(usize::from(is_new));
                    is_signalled = true;
                }
                Effect::Expired(_) => is_signalled = true,
                Effect::Rebound(..) | Effect::Answer(..) => {}
            }
        }
        let is_granted = granted > 0;
        if !(is_changed || is_signalled) {
            return;
        }
        self.has_recorded = true;
        let is_heard = key.is_heard();
        let stored = key.stored();
        let existed = stored.is_some();
        let lease = stored.as_ref().map_or(Slot::NONE, |stored| stored.lease);
        let holders = stored.map_or(&self.no_holders, |stored| &stored.holders);
        let is_free = *holders == Holders::Free;
        if is_free && !existed {
            // A hold that came and went within one step leaves nothing to record.
            return;
        }
        let effect = is_heard.then(|| {
            let mut effect = mem::take(&mut self.effect);
            effect.clear();
            write_effect(holders, effects, is_granted, now, &mut effect);
            effect
        });
        if is_free {
            self.leases.remove(lease);
            key.remove();
        } else if existed {
            // A TTL that somebody set by hand ends no hold that was just granted, or confirmed.
            if is_granted || is_changed {
                key.clear_ttl();
            }
            self.index(at, key);
        } else if let Some(end) = self.no_holders.due() {
            let (holders, lease) =
                (mem::replace(&mut self.no_holders, Holders::Free), self.leases.insert(end, at.to_id()));
            key.create(Stored { holders, lease });
        }
        match effect {
            Some(mut effect) => {
                let is_lost = (is_free && failpoints::is_on(Failpoint::ReleaseNotReplicated))
                    || (!is_signalled && failpoints::is_on(Failpoint::ExtensionNotReplicated));
                if !is_lost {
                    key.replicate(&effect);
                }
                effect.shrink_to(EFFECT_KEPT);
                self.effect = effect;
            }
            None => key.count_change(),
        }
        if is_signalled {
            key.signal_changed();
        }
    }

    /// An owner asked again, and nothing changed. Replicas and AOF are told of its hold all the same: WAIT counts from what the
    /// client's last command wrote, and after one that wrote nothing it would count replicas that do not have the hold.
    pub(super) fn confirm<K: Key>(&mut self, key: &mut K, now: Now, owner: OwnerRef) {
        key.clear_ttl();
        if !key.is_heard() {
            return;
        }
        let Some((_, mode, hold)) = key.stored().and_then(|stored| stored.holders.of(owner)) else { return };
        let mut effect = mem::take(&mut self.effect);
        effect.clear();
        EffectWriter::begin(&mut effect, now).runs(ChangeKind::Changed, mode, hold);
        key.replicate(&effect);
        self.effect = effect;
    }

    /// Tells whom it concerns of what is recorded: counters, sessions, keyspace events, waiters.
    fn tell<K: Key>(&mut self, at: KeyRef, key: &mut K, now: Now, effect: Effect) {
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
            Effect::Expired(shared) => self.expired_backlog.push_back((at.to_id(), shared)),
            Effect::Answer(ticket, Answer::Granted(hold)) => {
                self.spent.answers += 1;
                self.waiters.answer(ticket, |made_owner| Reply::Granted(hold, ticket, made_owner));
            }
            Effect::Answer(ticket, Answer::TimedOut) => self.time_out(ticket),
            Effect::Answer(ticket, Answer::Withdrawn) => {
                self.stats.waits_withdrawn += 1;
                self.waiters.answer(ticket, |_| Reply::Null);
            }
            Effect::Answer(ticket, Answer::MustRelease) => self.waiters.answer(ticket, |_| Reply::MustRelease),
            Effect::Answer(ticket, Answer::NoPermission) => {
                self.stats.waits_denied += 1;
                self.spent.answers += 1;
                self.waiters.answer(ticket, |_| Reply::NoPermission);
            }
        }
    }

    /// Tells of some that made room when their leases had run out.
    pub(super) fn report_expired<K: Key>(&mut self, at: KeyRef, key: &mut K, now: Now, shared: &mut SharedHolders) {
        for _ in 0..TOLD_MAX {
            let Some(shared) = shared.first_expiry().and_then(|(_, id)| shared.remove(id)) else { return };
            self.spent.steps += 1;
            self.tell(at, key, now, Effect::Ended(shared.hold, End::Expired));
        }
    }

    /// Answers a waiter whose wait ran out, and who has left its queue.
    pub(super) fn time_out(&mut self, ticket: Ticket) {
        self.stats.wait_timeouts += 1;
        self.spent.answers += 1;
        self.waiters.answer(ticket, |_| Reply::Null);
    }

    /// Takes note of the connection that a hold ends with. If it has closed already, the hold ends soon.
    pub(super) fn bind<K: Key>(&mut self, at: KeyRef, key: &mut K, hold: HoldId) {
        let Some((_, hold)) = key.stored().and_then(|stored| stored.holders.get(hold)) else { return };
        if let Some(session) = hold.session {
            match self.sessions.bind(session, at, &hold.owner) {
                sessions::ServerState::Open | sessions::ServerState::Forgotten => {}
                sessions::ServerState::Closed => {
                    self.ready.push_back(Task::Close(at.to_id(), hold.owner.clone(), session));
                }
            }
        }
    }

    /// Sees to it that the lock's next end stands among the deadlines, under the name the lock has now.
    pub(super) fn index<K: Key>(&mut self, at: KeyRef, key: &mut K) {
        let Some(stored) = key.stored() else { return };
        let Some(end) = stored.holders.due() else { return };
        match self.leases.get_mut(stored.lease) {
            Some(name) => {
                if name.borrow() != at {
                    *name = at.to_id();
                }
                self.leases.reset(stored.lease, end);
            }
            None => stored.lease = self.leases.insert(end, at.to_id()),
        }
    }

    /// Tells everybody in the queue that the key holds a value of another type.
    fn turn_away(&mut self, at: KeyRef) {
        let Some(queue) = self.queues.remove(at) else { return };
        self.contended.note(at, None, false);
        for (ticket, _) in queue.iter() {
            self.waiters.answer(ticket, |_| Reply::WrongType);
        }
    }

    /// The lock takes another turn soon.
    fn come_again(&mut self, at: KeyRef) {
        // Many waiters that leave one queue ask for it again and again.
        let asked = matches!(self.ready.back(), Some(Task::Advance(key)) if key.borrow() == at);
        if !asked {
            self.ready.push_back(Task::Advance(at.to_id()));
        }
    }

    /// A parked waiter leaves its queue.
    pub(super) fn leave_parked(&mut self, ticket: Ticket) {
        if let Some(key) = self.waiters.key(ticket) {
            self.leave_queue(key.borrow(), ticket);
        }
    }

    /// Somebody leaves a queue without having been served. Whoever stood behind may have waited for nothing else.
    pub(super) fn leave_queue(&mut self, at: KeyRef, ticket: Ticket) {
        let Some(queue) = self.queues.get_mut(at) else { return };
        let was_first = queue.first().is_some_and(|(first, _)| first == ticket);
        queue.leave(ticket);
        // One who wants the lock alone waits for a holder, whoever left.
        let frees_next = queue.first().is_some_and(|(_, next)| next.request.mode != Mode::Exclusive);
        if was_first && frees_next {
            self.come_again(at);
        }
        self.queues.remove_if_idle(at);
        if self.queues.get(at).is_none() {
            self.contended.note(at, None, false);
        }
    }
}

/// Of how many holds that made room is told at a time.
const TOLD_MAX: usize = 64;
/// For how many effects of a step room is kept.
const EFFECTS_KEPT: usize = 256;
/// How much room is kept for the next effect that is replicated, in bytes.
const EFFECT_KEPT: usize = 16 * 1024;

/// Writes what replicas and the AOF need to know: what changed, however much there is.
fn write_effect(holders: &Holders, effects: &[Effect], is_granted: bool, now: Now, out: &mut Vec<u8>) {
    let mut writer = EffectWriter::begin(out, now);
    match holders {
        Holders::Free => writer.freed(),
        // It takes the place of all that was.
        Holders::Exclusive(hold) => {
            writer.runs(if is_granted { ChangeKind::Granted } else { ChangeKind::Changed }, Mode::Exclusive, hold);
        }
        Holders::Shared(_) => {
            let runs = |told, id: &HoldId, writer: &mut EffectWriter| {
                if let Some((mode, hold)) = holders.get(*id) {
                    writer.runs(told, mode, hold);
                }
            };
            for effect in effects {
                match effect {
                    Effect::Granted(id, _) => runs(ChangeKind::Granted, id, &mut writer),
                    Effect::Changed(id, _) => runs(ChangeKind::Changed, id, &mut writer),
                    Effect::Ended(hold, _) => writer.ended(hold.owner.borrow()),
                    // The exclusive hold that came after it has gone again, or is a shared one by now.
                    Effect::Expired(_) => writer.freed(),
                    Effect::Rebound(..) | Effect::Answer(..) => {}
                }
            }
        }
    }
}
