//! Records how a lock changed: in the key's value, for replicas and the AOF, among the deadlines, and for WATCH and CLIENT
//! TRACKING.

use std::mem;

use super::entries::EntryId;
use super::names::KeyRef;
use super::server::{Key, Stored, Waiting};
use super::state::Engine;
use crate::failpoints::{self, Failpoint};
use crate::lock::{Effect, Fence, FenceClock, HoldChange, HoldId, Holders, Mode, Now, OwnerRef};
use crate::wire::{Change, ChangeKind, EffectWriter};

/// The number of bytes for which the buffer of replicated effects keeps its memory.
const REPLICATED_KEPT: usize = 16 * 1024;

/// What a change of a lock means for others, whether a step made it here or the primary did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Impact {
    /// A hold began and goes on.
    is_granted: bool,
    /// A hold that was there goes on, changed or confirmed.
    is_kept: bool,
    /// The lock is cooling from now on.
    is_cooling: bool,
    /// An owner gained or lost the lock, or its mode changed. WATCH and CLIENT TRACKING are told.
    is_signalled: bool,
}

impl Impact {
    fn granted(&mut self) {
        (self.is_granted, self.is_signalled) = (true, true);
    }

    fn kept(&mut self) {
        self.is_kept = true;
    }

    fn cools(&mut self) {
        (self.is_cooling, self.is_signalled) = (true, true);
    }

    fn ended(&mut self) {
        self.is_signalled = true;
    }

    /// The mode of a hold is weaker now: others may enter.
    fn downgraded(&mut self) {
        (self.is_kept, self.is_signalled) = (true, true);
    }

    /// What the effects of one step mean; `holders` are those after the step. A hold may come and go within one step. Its
    /// fence shows that, because the fences of this step are above all before it. A hold that changed may be gone, too.
    fn of_step(effects: &[Effect], holders: &Holders) -> Impact {
        let mut impact = Impact::default();
        let (mut granted, mut first_granted) = (0usize, None::<Fence>);
        for effect in effects {
            match effect {
                Effect::Granted(hold, _) => {
                    impact.granted();
                    granted += 1;
                    first_granted = first_granted.or(Some(hold.fence));
                }
                Effect::Changed(hold, change) => {
                    impact.is_kept |= holders.get(*hold).is_some();
                    impact.is_signalled |= *change == HoldChange::Downgraded;
                }
                Effect::Ended(hold, _) => {
                    let is_new = first_granted.is_some_and(|first| hold.fence >= first);
                    granted = granted.saturating_sub(usize::from(is_new));
                    impact.ended();
                }
                Effect::Expired(_) | Effect::Cooled => impact.ended(),
                Effect::Cools => impact.cools(),
                Effect::Rebound(..) | Effect::Ready(_) | Effect::Answer(..) => {}
            }
        }
        impact.is_granted = granted > 0;
        impact
    }

    /// Changes the holders as the primary or the AOF says. Returns what that means.
    fn of_replicated(changes: Vec<Change>, holders: &mut Holders, fences: &mut FenceClock) -> Impact {
        let mut impact = Impact::default();
        for change in changes {
            match change {
                Change::Held(kind, mode, hold) => {
                    fences.observe(hold.fence);
                    let before = holders.of(hold.owner.borrow()).map(|(_, mode, _)| mode);
                    match kind {
                        ChangeKind::Granted => impact.granted(),
                        ChangeKind::Changed if before.is_some_and(|before| mode.satisfies(before)) => impact.kept(),
                        ChangeKind::Changed => impact.downgraded(),
                    }
                    holders.put(mode, hold);
                }
                Change::Ended(owner) => {
                    impact.ended();
                    if let Some((id, ..)) = holders.of(owner.borrow()) {
                        holders.remove(id);
                    }
                }
                Change::Cooling(cooling) => {
                    impact.cools();
                    *holders = Holders::Cooling(cooling);
                }
                Change::Freed => {
                    impact.ended();
                    *holders = Holders::Free;
                }
            }
        }
        impact
    }

    /// Whether a hold was granted or confirmed, or cooling began. A TTL that somebody set by hand must not end that.
    fn clears_ttl(self) -> bool {
        self.is_granted || self.is_kept || self.is_cooling
    }
}

impl<W: Waiting> Engine<W> {
    /// Records what a step did. It has changed the holders already, those in the key's value or, if there was no key,
    /// [`Scratch::no_holders`](super::state::Scratch::no_holders).
    pub(super) fn record<K: Key>(&mut self, at: KeyRef, key: &mut K, now: Now, effects: &[Effect]) {
        let is_heard = key.is_heard();
        let stored = key.stored();
        let before = stored.as_ref().map(|stored| stored.lease);
        let holders = stored.map_or(&self.scratch.no_holders, |stored| &stored.holders);
        let impact = Impact::of_step(effects, holders);
        if !(impact.is_kept || impact.is_signalled) {
            return;
        }
        self.scratch.has_recorded = true;
        let is_free = *holders == Holders::Free;
        if is_free && before.is_none() {
            // A hold that came and went within one step leaves nothing to record.
            return;
        }
        let replicated = is_heard.then(|| {
            let mut replicated = mem::take(&mut self.scratch.replicated);
            replicated.clear();
            write_effect(holders, effects, impact.is_granted, now, &mut replicated);
            replicated
        });
        self.store(at, key, before, is_free, impact);
        #[cfg(debug_assertions)]
        self.check_deadline(at, key);
        match replicated {
            Some(mut replicated) => {
                let is_lost = (is_free && failpoints::is_on(Failpoint::ReleaseNotReplicated))
                    || (!impact.is_signalled && failpoints::is_on(Failpoint::ExtensionNotReplicated));
                if !is_lost {
                    key.replicate(&replicated);
                }
                replicated.shrink_to(REPLICATED_KEPT);
                self.scratch.replicated = replicated;
            }
            None => key.count_change(),
        }
        if impact.is_signalled {
            key.signal_changed();
        }
    }

    /// Applies what the primary, or the AOF, says of a lock. A value of another type gives way: the stream is right.
    pub fn apply<K: Key>(&mut self, at: KeyRef, key: &mut K, changes: Vec<Change>) {
        let stored = key.stored();
        let before = stored.as_ref().map(|stored| stored.lease);
        let holders = stored.map_or(&mut self.scratch.no_holders, |stored| &mut stored.holders);
        let impact = Impact::of_replicated(changes, holders, &mut self.fences);
        let is_free = *holders == Holders::Free;
        self.store(at, key, before, is_free, impact);
        #[cfg(debug_assertions)]
        self.check_deadline(at, key);
        if impact.is_signalled {
            key.signal_changed();
        }
    }

    /// Brings the key and the deadlines in line with the holders. `before` is the entry of the lock's deadline, if there
    /// was a lock.
    fn store<K: Key>(&mut self, at: KeyRef, key: &mut K, before: Option<EntryId>, is_free: bool, impact: Impact) {
        match before {
            _ if is_free => {
                self.leases.remove(before.unwrap_or(EntryId::NONE));
                key.remove();
            }
            Some(_) => {
                if impact.clears_ttl() {
                    key.clear_ttl();
                }
                self.index(at, key);
            }
            None => {
                if let Some(end) = self.scratch.no_holders.due() {
                    let holders = mem::replace(&mut self.scratch.no_holders, Holders::Free);
                    let lease = self.leases.insert(end, at.to_id());
                    key.create(Stored { holders, lease });
                }
            }
        }
    }

    /// Confirms the hold of an owner that reacquired and changed nothing. Replicas and the AOF are told of it all the same:
    /// WAIT counts from what the client's last command wrote, and after one that wrote nothing it would count replicas that
    /// do not have the hold.
    pub(super) fn confirm<K: Key>(&mut self, key: &mut K, now: Now, owner: OwnerRef) {
        key.clear_ttl();
        if !key.is_heard() {
            return;
        }
        let Some((_, mode, hold)) = key.stored().and_then(|stored| stored.holders.of(owner)) else { return };
        let mut replicated = mem::take(&mut self.scratch.replicated);
        replicated.clear();
        EffectWriter::begin(&mut replicated, now).held(ChangeKind::Changed, mode, hold);
        key.replicate(&replicated);
        self.scratch.replicated = replicated;
    }

    /// Puts the end of the lock's next lease among the deadlines, under the name that the lock has now.
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
}

/// Writes what replicas and the AOF need to know: what changed, however many holders there are.
fn write_effect(holders: &Holders, effects: &[Effect], is_granted: bool, now: Now, out: &mut Vec<u8>) {
    let mut writer = EffectWriter::begin(out, now);
    match holders {
        Holders::Free => writer.freed(),
        Holders::Cooling(cooling) => writer.cooling(*cooling),
        // An exclusive hold replaces all holds before it.
        Holders::Exclusive(hold) => {
            writer.held(if is_granted { ChangeKind::Granted } else { ChangeKind::Changed }, Mode::Exclusive, hold);
        }
        Holders::Shared(_) => {
            let held = |kind, id: &HoldId, writer: &mut EffectWriter| {
                if let Some((mode, hold)) = holders.get(*id) {
                    writer.held(kind, mode, hold);
                }
            };
            for effect in effects {
                match effect {
                    Effect::Granted(id, _) => held(ChangeKind::Granted, id, &mut writer),
                    Effect::Changed(id, _) => held(ChangeKind::Changed, id, &mut writer),
                    Effect::Ended(hold, _) => writer.ended(hold.owner.borrow()),
                    // The exclusive hold that came after it has gone again, or is a shared one by now.
                    Effect::Expired(_) | Effect::Cools | Effect::Cooled => writer.freed(),
                    Effect::Rebound(..) | Effect::Ready(_) | Effect::Answer(..) => {}
                }
            }
        }
    }
}
