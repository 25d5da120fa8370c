//! Slots that leave this server whole, with the locks in them: the server tells of the slots, and of no single key.
//!
//! Only the engine's own tables know these locks any more. Their deadlines go first, a portion at once and the rest in slices;
//! what connections held of them goes after that; who waits for them is sent away by the [queue check](super::queue_check).
//!
//! A slot may be back before all this is done. So only deadlines are dropped that were there when the slot left, and a
//! connection only loses what is no longer bound to it.

use std::collections::VecDeque;

use super::inbox::Inbox;
use super::names::KeyId;
use super::server::{Key, Server, Waiting};
use super::sessions::HoldName;
use super::slots::Mark;
use super::tick::Budget;
use super::Engine;
use crate::lock::{Owner, Session, Steady};
use crate::wire::{key_slot, SlotSet};

/// How many deadlines a turn looks at: some 0.3 ms.
const LEASES_MAX: u32 = 4096;

/// Why locks are here no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leaving {
    /// They moved to another server.
    Moved,
    /// They came from one, and are its locks still: the move was given up. Or they are a replica's, whose primary counts.
    Dropped,
}

/// Slots that left together.
#[derive(Debug)]
struct Departure {
    slots: SlotSet,
    why: Leaving,
    /// When they left.
    mark: Mark,
    /// The next deadline to look at; `None`: there are no more.
    next: Option<u32>,
    /// The sessions that are still to be looked through.
    sessions: Vec<Session>,
    /// What the last one holds in these slots, as far as it is still to be looked at.
    holds: Vec<(Session, HoldName)>,
}

/// What left and is still known of, the first first.
#[derive(Debug, Default)]
pub struct Departures(VecDeque<Departure>);

impl Departures {
    /// Whether all is done.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// When there is something to do: now, or never.
    pub fn due(&self) -> Option<Steady> {
        (!self.is_empty()).then_some(Steady(i64::MIN))
    }
}

impl<W: Waiting> Engine<W> {
    /// These slots are here no more, and no lock in them. The locks somebody still waits for are noted.
    pub fn slots_left(&mut self, slots: SlotSet, why: Leaving, inbox: &mut Inbox) {
        let mut waited_for = self.queues.keys(None);
        waited_for.retain(|key| slots.contains(key_slot(key.name())));
        self.check_queues_first(&waited_for);
        // If their slot comes back before they are asked about, there may be nobody else to serve their queues.
        inbox.changed.append(&mut waited_for);
        let (mark, sessions) = (self.leases.mark(), self.sessions.with_holds());
        self.departures.0.push_back(Departure { slots, why, mark, next: Some(0), sessions, holds: Vec::new() });
        self.forget_some_leases();
    }

    /// Goes on with what left.
    pub(super) fn see_off<S: Server>(&mut self, server: &mut S, budget: &mut Budget) {
        if self.departures.is_empty() {
            return;
        }
        self.forget_some_leases();
        while !budget.is_spent(server, &mut self.spent) {
            let Some(departure) = self.departures.0.front_mut().filter(|departure| departure.next.is_none()) else {
                return;
            };
            if let Some((session, (key, owner))) = departure.holds.pop() {
                if !is_bound(server, &key, &owner, session) {
                    self.sessions.unbind(session, key.borrow(), &owner);
                }
            } else if let Some(session) = departure.sessions.pop() {
                let slots = &departure.slots;
                let in_slots = |(key, _): &(&KeyId, &Owner)| slots.contains(key_slot(key.name()));
                let theirs = self.sessions.holds(session).filter(in_slots);
                departure.holds = theirs.map(|(key, owner)| (session, (key.clone(), owner.clone()))).collect();
            } else {
                self.departures.0.pop_front();
            }
        }
    }

    /// Drops all deadlines of locks that left: those that are there are counted next.
    pub(super) fn forget_all_leases_that_left(&mut self) {
        while self.forget_some_leases() {}
    }

    /// Drops some deadlines. False if there are none left to look at.
    fn forget_some_leases(&mut self) -> bool {
        let going_on = self.departures.0.iter_mut().find_map(|departure| Some((departure.next?, departure)));
        let Some((from, departure)) = going_on else { return false };
        let slots = &departure.slots;
        let has_left = |key: &KeyId| slots.contains(key_slot(key.name()));
        let (dropped, next) = self.leases.drop_some(departure.mark, from, LEASES_MAX, has_left);
        departure.next = next;
        match departure.why {
            Leaving::Moved => self.stats.moved_away += dropped as u64,
            Leaving::Dropped => {}
        }
        true
    }
}

/// Whether this hold is there, and ends with that session.
fn is_bound<S: Server>(server: &mut S, key: &KeyId, owner: &Owner, session: Session) -> bool {
    let Some(mut open) = server.open(key.borrow()) else { return false };
    let bound_to = open.stored().and_then(|stored| stored.holders.of(owner.borrow())?.2.session);
    bound_to == Some(session)
}
