//! What slots that move from server to server in a cluster mean for fences.
//!
//! The server that had a slot before may have given fences above this server's fence clock: it started or was promoted within
//! the last minute and had leapt, or its wall clock is ahead. A free lock has no key that could bring its last fence along. So
//! the fence clock leaps when a slot comes, as it does at a start (see [`crate::lock::FenceClock`]).
//!
//! Most servers have no event for a slot that comes. A slot is *settled* if the fence clock has leapt since it came:
//!
//! * The first step on a free lock in a slot that is not settled makes the clock leap, and settles the slot.
//! * The server is asked which slots are its own: at its start, once a second, and at once when its configuration has changed.
//!   Its own slots are settled at once, so that single grants need not do it. All other slots are no longer settled, nor are
//!   slots that are being moved in or out, in which two servers grant. Settling at once matters for an old primary that is cut
//!   off: its replica may have been promoted and have leapt, and a later leap of the old primary would put its fences above
//!   those of its successor.
//! * If the server's epoch has risen since it was asked last, it may have lost a slot and taken it back: no slot counts as
//!   settled.
//!
//! A lock that is held needs none of this, because its value brings its fence along.

use crate::lock::{FenceClock, Millis, Now, Steady};
use crate::wire::{key_slot, OwnSlots, SlotSet};

/// How often the server is asked which slots are its own, in milliseconds.
const EVERY: Millis = Millis(1000);

/// The settled slots of a node of a cluster.
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

    /// A free lock of this name may be granted now. If its slot is not settled, the clock leaps above every fence that another
    /// server may have given there.
    pub fn enter(&mut self, name: &[u8], fences: &mut FenceClock, now: Now) {
        let slot = key_slot(name);
        if !self.settled.contains(slot) {
            fences.leap_for_slots(now.unix);
            self.settled.insert(slot);
            // Then all slots that are the server's own are settled at once.
            self.due = now.steady;
        }
    }

    /// The server says that exactly these slots are its own.
    pub fn learn(&mut self, own: OwnSlots, fences: &mut FenceClock, now: Now) {
        let OwnSlots { slots, epoch } = own;
        if epoch > self.epoch || !slots.is_subset(&self.settled) {
            fences.leap_for_slots(now.unix);
        }
        (self.settled, self.epoch) = (slots, epoch);
    }
}
