//! Slots that left this server whole, with the locks in them: the server reports the slots, and no single key.
//!
//! Only the engine's own tables still know these locks, and must forget them. First the deadlines go, some of them at once
//! and the rest in later ticks; then the locks that connections hold. The [queue check](super::queue_check) redirects the
//! clients that wait for them.
//!
//! A slot may be back before all this is done. So only deadlines are dropped that were there when the slot left, and a
//! connection only loses what is no longer bound to it.

use std::collections::VecDeque;

use super::deadlines::Deadlines;
use super::entries::Generation;
use super::names::KeyId;
use super::sessions::{HoldName, Sessions};
use crate::lock::{Owner, Session, Steady};
use crate::wire::{key_slot, SlotSet};

/// The number of deadlines that one call looks at. It takes some 0.3 ms.
const LEASES_MAX: u32 = 4096;

/// Why locks have left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leaving {
    /// They moved to another server.
    Moved,
    /// They had come from another server and are its locks still, because the move was given up. Or they are a replica's,
    /// whose primary counts them.
    Dropped,
}

/// Slots that left together.
#[derive(Debug)]
struct Departure {
    slots: SlotSet,
    why: Leaving,
    /// Later deadlines came after the slots left.
    generation: Generation,
    /// The next deadline to look at; `None`: there are no more.
    next: Option<u32>,
    /// The sessions that are still to be looked through.
    sessions: Vec<Session>,
    /// The holds of the last such session in these slots that are still to be looked at.
    holds: Vec<(Session, HoldName)>,
}

/// The slots that left, as long as the engine's tables still know locks in them. The first left first.
#[derive(Debug, Default)]
pub struct Departures(VecDeque<Departure>);

impl Departures {
    /// Whether the tables have forgotten all that left.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// When there is something to forget: now, or never.
    pub fn due(&self) -> Option<Steady> {
        (!self.is_empty()).then_some(Steady(i64::MIN))
    }

    /// These slots left.
    pub fn push(&mut self, slots: SlotSet, why: Leaving, leases: &Deadlines<KeyId>, sessions: &Sessions) {
        let (generation, sessions) = (leases.generation(), sessions.with_holds());
        self.0.push_back(Departure { slots, why, generation, next: Some(0), sessions, holds: Vec::new() });
    }

    /// Drops some deadlines. Returns how many, and why they left; `None` if there are none left to look at.
    pub fn forget_some_leases(&mut self, leases: &mut Deadlines<KeyId>) -> Option<(usize, Leaving)> {
        let (from, departure) = self.0.iter_mut().find_map(|departure| Some((departure.next?, departure)))?;
        let slots = &departure.slots;
        let has_left = |key: &KeyId| slots.contains(key_slot(key.name()));
        let (dropped, next) = leases.drop_some(departure.generation, from, LEASES_MAX, has_left);
        departure.next = next;
        Some((dropped, departure.why))
    }

    /// Takes the next hold that a connection may have lost. `Some(None)` if this call only found out where to look next, `None` if
    /// nothing is left or the deadlines come first.
    pub fn next_hold(&mut self, sessions: &Sessions) -> Option<Option<(Session, HoldName)>> {
        let departure = self.0.front_mut().filter(|departure| departure.next.is_none())?;
        if let Some(hold) = departure.holds.pop() {
            return Some(Some(hold));
        }
        if let Some(session) = departure.sessions.pop() {
            let slots = &departure.slots;
            let in_slots = |(key, _): &(&KeyId, &Owner)| slots.contains(key_slot(key.name()));
            let theirs = sessions.holds(session).filter(in_slots);
            departure.holds = theirs.map(|(key, owner)| (session, (key.clone(), owner.clone()))).collect();
        } else {
            self.0.pop_front();
        }
        Some(None)
    }
}
