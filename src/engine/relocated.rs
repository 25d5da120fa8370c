//! Holds that were granted under one name and are under another while their answers are in flight.
//!
//! A client learns of its grant at the end of the iteration of the event loop in which the grant was made. Before that a
//! transaction may do anything: `LOCK.RELEASE k`, `CLIENT KILL` of the next in the queue, `RENAME k k2`. The hold went along
//! with the value, and its owner never learns of it. It must be ended where it is now, while the queue stays with the
//! name that the clients asked for.

use std::collections::BTreeMap;

use super::names::{KeyId, KeyRef};
use super::server::Waiting;
use super::wait_table::WaitTable;
use crate::lock::{HoldId, Holders};

/// Where relocated holds are now, by the name that they were granted under.
#[derive(Debug, Default)]
pub struct RelocatedHolds(BTreeMap<(KeyId, HoldId), KeyId>);

impl RelocatedHolds {
    /// A lock came to this key from another one. Linear in the number of queues: only operators move locks.
    pub fn moved<W: Waiting>(&mut self, waits: &WaitTable<W>, to: KeyRef, holders: &Holders) {
        for (granted_at, queue) in waits.queues() {
            for hold in queue.in_flight().filter(|hold| holders.get(*hold).is_some()) {
                self.0.insert((granted_at.to_id(), hold), to.to_id());
            }
        }
    }

    /// Two databases changed places, and the queues stayed.
    pub fn swapped<W: Waiting>(&mut self, waits: &WaitTable<W>, one: i32, other: i32) {
        for (granted_at, queue) in waits.queues().filter(|(key, _)| key.db == one || key.db == other) {
            for hold in queue.in_flight() {
                self.0.entry((granted_at.to_id(), hold)).or_insert_with(|| granted_at.to_id());
            }
        }
        self.0.values_mut().for_each(|place| place.swap(one, other));
    }

    /// An answer with this hold was delivered, or could not be. Forgets the hold, unless another answer with it is still in
    /// flight. Returns where the hold was last, if it was relocated.
    pub fn forget<W: Waiting>(&mut self, waits: &WaitTable<W>, granted_at: KeyRef, hold: HoldId) -> Option<KeyId> {
        if self.0.is_empty() {
            return None;
        }
        let is_in_flight = waits.queue(granted_at).is_some_and(|queue| queue.is_in_flight(hold));
        if is_in_flight {
            return None;
        }
        self.0.remove(&(granted_at.to_id(), hold))
    }
}
