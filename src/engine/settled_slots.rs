//! Slots that move from server to server in a cluster, and what that means for fences.
//!
//! The server that had a slot before may have given numbers above this one's clock: it started, or was promoted, within the
//! last minute and had leapt, or its wall clock is ahead. Nothing tells this server of that for a lock that is free, because
//! nothing of it moves. So a server leaps when a slot comes, as at a start (see [`crate::lock::FenceClock`]).
//!
//! Most servers have no event for a slot that comes. A slot is *settled* if the clock has leapt since it came:
//!
//! * The first step on a free lock in a slot that is not settled makes the clock leap, and settles the slot.
//! * At its start, once a second, and at once when its configuration has changed, the server is asked which slots are its
//!   own. The others are settled no more, nor are those on their way in or out, in which two servers grant; its own are
//!   settled at once, so that single grants need not do it. An old primary that is cut off may have been replaced, and its
//!   replica has leapt by then: a leap of its own at its next grant would put it above its successor.
//! * If the server's epoch has risen since, it may have lost a slot and taken it back meanwhile: no slot counts as settled.
//!
//! A lock that is held needs none of this: its value brings its fence along.

use crate::lock::{FenceClock, Millis, Now, Steady};
use crate::wire::{key_slot, OwnSlots, SlotSet};

/// How often the server is asked which slots are its own, in milliseconds.
const EVERY: Millis = Millis(1000);

/// What a node of a cluster knows of slots.
#[derive(Debug)]
pub struct SettledSlots {
    settled: SlotSet,
    /// When the server is asked next.
    due: Steady,
    /// The server's configuration epoch when it was asked last.
    epoch: u64,
}

impl SettledSlots {
    /// No slot is settled, and the server is asked at once.
    pub fn new() -> SettledSlots {
        SettledSlots { settled: SlotSet::new(), due: Steady(i64::MIN), epoch: 0 }
    }

    /// When the server is to be asked next which slots are its own.
    pub fn due(&self) -> Steady {
        self.due
    }

    /// The server is to be asked at this moment.
    pub fn ask_at(&mut self, due: Steady) {
        self.due = due;
    }

    /// The server is being asked.
    pub fn asked(&mut self, now: Steady) {
        self.due = now + EVERY;
    }

    /// A free lock of this name may be granted now: the clock is brought above whatever was granted elsewhere before.
    pub fn enter(&mut self, name: &[u8], fences: &mut FenceClock, now: Now) {
        let slot = key_slot(name);
        if !self.settled.contains(slot) {
            fences.leap_for_slots(now.unix);
            self.settled.insert(slot);
            // Then all slots that are the server's own are settled at once.
            self.due = now.steady;
        }
    }

    /// The server says that these are its own slots, and no others.
    pub fn learn(&mut self, own: OwnSlots, fences: &mut FenceClock, now: Now) {
        let OwnSlots { slots, epoch } = own;
        if epoch > self.epoch || !slots.is_subset(&self.settled) {
            fences.leap_for_slots(now.unix);
        }
        (self.settled, self.epoch) = (slots, epoch);
    }
}
