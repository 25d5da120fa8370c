//! Slots of a cluster that come to this server and leave it.
//!
//! The fence clock leaps for a slot that comes: see [`super::settled_slots`]. The engine's tables forget the locks of a slot
//! that leaves: see [`super::departures`].

use super::departures::Leaving;
use super::inbox::Inbox;
use super::names::KeyId;
use super::server::{Key, Server, ServerState, Waiting};
use super::settled_slots::SettledSlots;
use super::state::Engine;
use crate::lock::{Now, Owner, Session, Steady};
use crate::wire::{key_slot, SlotSet};

impl<W: Waiting> Engine<W> {
    /// The server is part of a cluster: queues may be at the wrong server, and slots come and go.
    pub fn join_cluster(&mut self) {
        self.cluster.settled_slots = Some(Box::new(SettledSlots::new()));
    }

    /// This server starts to decide, at its start or promoted: the fence clock leaps above every fence that may be unknown
    /// here.
    pub fn begin_term(&mut self, now: Now) {
        self.fences.leap(now.unix);
        if let Some(slots) = &mut self.cluster.settled_slots {
            **slots = SettledSlots::new();
        }
    }

    /// The server's configuration has changed. Asks at once which slots are the server's own.
    pub fn recheck_slots<S: Server>(&mut self, server: &mut S) {
        if let Some(slots) = &mut self.cluster.settled_slots {
            slots.ask_at(server.now().steady);
        }
        let state = server.state();
        self.check_slots(server, state);
    }

    /// When the server is to be asked next which slots are its own.
    pub(super) fn next_slot_check(&self) -> Option<Steady> {
        self.cluster.settled_slots.as_ref().map(|slots| slots.due())
    }

    /// Asks the server which slots are its own, if that is due and the server may grant.
    pub(super) fn check_slots<S: Server>(&mut self, server: &mut S, state: ServerState) {
        let Some(slots) = &mut self.cluster.settled_slots else { return };
        let now = server.now();
        if slots.due() > now.steady {
            return;
        }
        slots.asked(now.steady);
        let own = match state {
            ServerState::Writable | ServerState::Halted => server.own_slots(),
            ServerState::Replica | ServerState::Loading => None,
        };
        if let Some(own) = own {
            slots.learn(own, &mut self.fences, now);
        }
    }

    /// These slots have left with all locks in them. The locks that somebody still waits for are noted.
    pub fn slots_left(&mut self, slots: SlotSet, why: Leaving, inbox: &mut Inbox) {
        let mut waited_for = self.waits.keys(None);
        waited_for.retain(|key| slots.contains(key_slot(key.name())));
        self.check_queues_first(&waited_for);
        // If their slot comes back before they are asked about, nothing else may serve their queues.
        inbox.changed.append(&mut waited_for);
        self.cluster.departures.push(slots, why, &self.leases, &self.sessions);
        self.forget_some_leases();
    }

    /// Forgets more of what left, as far as one tick may.
    pub(super) fn forget_departed<S: Server>(&mut self, server: &mut S) {
        if self.cluster.departures.is_empty() {
            return;
        }
        self.forget_some_leases();
        while !self.agenda.budget.is_spent(server) {
            let Some(next) = self.cluster.departures.next_hold(&self.sessions) else { return };
            if let Some((session, (key, owner))) = next {
                if !is_bound(server, &key, &owner, session) {
                    self.sessions.unbind(session, key.borrow(), &owner);
                }
            }
        }
    }

    /// Drops all deadlines of locks that left, so that those that are there can be counted.
    pub(super) fn forget_all_departed_leases(&mut self) {
        while self.forget_some_leases() {}
    }

    /// Drops some deadlines of locks that left. False if there are none to look at.
    fn forget_some_leases(&mut self) -> bool {
        let Some((dropped, why)) = self.cluster.departures.forget_some_leases(&mut self.leases) else { return false };
        match why {
            Leaving::Moved => self.stats.moved_away += dropped as u64,
            Leaving::Dropped => {}
        }
        true
    }
}

/// Whether this owner's hold is there, and ends with that session.
fn is_bound<S: Server>(server: &mut S, key: &KeyId, owner: &Owner, session: Session) -> bool {
    let Some(mut open) = server.open(key.borrow()) else { return false };
    let bound_to = open.stored().and_then(|stored| stored.holders.of(owner.borrow())?.2.session);
    bound_to == Some(session)
}
