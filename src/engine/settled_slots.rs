//! SettledSlots that move from server to server in a cluster, and what that means for fences.
//!
//! The server that had a slot before may have given numbers above this one's clock: it started, or was promoted, within the
//! last minute and had leapt, or its wall clock is ahead. Nothing tells this server of that for a lock that is free, because
//! nothing of it moves. So a server leaps when a slot comes, as at a start (see [`crate::lock::FenceClock`]).
//!
//! Most servers have no event for a slot that comes. A slot is *settled* if the clock has leapt since it came:
//!
//! * The first step on a free lock in a slot that is not settled makes the clock leap, and settles the slot.
//! * Once a second, and at once when its configuration has changed, the server is asked which slots are its own. The others
//!   are settled no more, nor are those on their way in or out, in which two servers grant; its own are settled at once, so
//!   that single grants need not do it.
//! * If the server's epoch has risen since, it may have lost a slot and taken it back meanwhile: no slot counts as settled.
//!
//! A lock that is held needs none of this: its value brings its fence along.

use super::server::{Server, Standing, Waiting};
use super::Engine;
use crate::lock::{FenceClock, Millis, Now, Steady};
use crate::wire::{key_slot, OwnSlots, SlotSet};

/// How often the server is asked which slots are its own, in milliseconds.
const EVERY: Millis = Millis(1000);

/// What a node of a cluster knows of slots.
#[derive(Debug)]
pub struct SettledSlots {
    settled: SlotSet,
    /// When the server is asked next; `None`: not before a lock is granted.
    due: Option<Steady>,
    /// The server's configuration epoch when it was asked last.
    epoch: u64,
}

impl SettledSlots {
    /// None is settled.
    pub fn new() -> SettledSlots {
        SettledSlots { settled: SlotSet::new(), due: None, epoch: 0 }
    }

    /// A free lock of this name may be granted now: the clock is brought above whatever was granted elsewhere before.
    pub fn enter(&mut self, name: &[u8], fences: &mut FenceClock, now: Now) {
        let slot = key_slot(name);
        if !self.settled.contains(slot) {
            fences.leap_for_slots(now.unix);
            self.settled.insert(slot);
            // Then all slots that are the server's own are settled at once.
            self.due = Some(now.steady);
        }
    }

    /// The server says that these are its own slots, and no others.
    fn learn(&mut self, own: OwnSlots, fences: &mut FenceClock, now: Now) {
        let OwnSlots { slots, epoch } = own;
        if epoch > self.epoch || !slots.is_subset(&self.settled) {
            fences.leap_for_slots(now.unix);
        }
        (self.settled, self.epoch) = (slots, epoch);
    }
}

impl<W: Waiting> Engine<W> {
    /// This server starts to decide, at its start or promoted: it leaps above every fence that it may not know of.
    pub fn begin_term(&mut self, now: Now) {
        self.fences.leap(now.unix);
        if let Some(slots) = &mut self.settled_slots {
            **slots = SettledSlots::new();
        }
    }

    /// The server's configuration has changed: it is asked at once which slots are its own, if any lock was granted here.
    pub fn recheck_slots<S: Server>(&mut self, server: &mut S) {
        if let Some(due) = self.settled_slots.as_mut().and_then(|slots| slots.due.as_mut()) {
            *due = server.now().steady;
        }
        match server.standing() {
            Standing::Writable | Standing::Halted => self.check_slots(server),
            Standing::Replica | Standing::Loading => {}
        }
    }

    /// When the server is to be asked next which slots are its own.
    pub(super) fn next_slot_check(&self) -> Option<Steady> {
        self.settled_slots.as_ref().and_then(|slots| slots.due)
    }

    /// Asks the server, which may grant, which slots are its own, if that is due.
    pub(super) fn check_slots<S: Server>(&mut self, server: &mut S) {
        let Some(slots) = &mut self.settled_slots else { return };
        let now = server.now();
        if slots.due.is_some_and(|due| due <= now.steady) {
            slots.due = Some(now.steady + EVERY);
            if let Some(own) = server.own_slots() {
                slots.learn(own, &mut self.fences, now);
            }
        }
    }
}
