//! Holds that were granted under one name and are under another when their answers are still on their way.
//!
//! A grant is handed to its client at the end of the iteration of the event loop in which it was made, and in that turn a
//! transaction may do anything: `LOCK.RELEASE k`, `CLIENT KILL` of the next in the queue, `RENAME k k2`. The hold went along with the
//! value, and nobody was told of it. It must be ended where it is now; the queue stays with the name it was asked for.

use std::collections::BTreeMap;

use super::names::{KeyId, KeyRef};
use super::server::Waiting;
use super::tick::Task;
use super::waiters::WaitQueues;
use super::Engine;
use crate::lock::{HoldId, Holders};

/// By the name that a hold was granted under: where it is now.
#[derive(Debug, Default)]
pub struct Strays(BTreeMap<(KeyId, HoldId), KeyId>);

impl Strays {
    /// A lock came to this key, from wherever. Linear in the queues there are: locks are moved by operators only.
    pub fn moved(&mut self, queues: &WaitQueues, to: KeyRef, holders: &Holders) {
        for (granted_at, queue) in queues.iter() {
            for hold in queue.in_flight().filter(|hold| holders.get(*hold).is_some()) {
                self.0.insert((granted_at.to_id(), hold), to.to_id());
            }
        }
    }

    /// Two databases changed places, and the queues stayed.
    pub fn swapped(&mut self, queues: &WaitQueues, one: i32, other: i32) {
        for (granted_at, queue) in queues.iter().filter(|(key, _)| key.db == one || key.db == other) {
            for hold in queue.in_flight() {
                self.0.entry((granted_at.to_id(), hold)).or_insert_with(|| granted_at.to_id());
            }
        }
        self.0.values_mut().for_each(|place| place.swap(one, other));
    }
}

impl<W: Waiting> Engine<W> {
    /// One of the answers with this hold found nobody. `is_astray`: it was to end, and is not where it was granted.
    pub(super) fn follow_stray(&mut self, granted_at: KeyRef, hold: HoldId, is_astray: bool) {
        let place = self.forget_stray(granted_at, hold);
        if is_astray {
            self.ready.extend(place.map(|place| Task::RevokeStray(place, hold)));
        }
    }

    /// Nothing more can be heard of the answers with this hold, unless one is still on its way: where the hold was last.
    pub(super) fn forget_stray(&mut self, granted_at: KeyRef, hold: HoldId) -> Option<KeyId> {
        let is_in_flight = self.queues.get(granted_at).is_some_and(|queue| queue.is_in_flight(hold));
        if self.strays.0.is_empty() || is_in_flight {
            return None;
        }
        self.strays.0.remove(&(granted_at.to_id(), hold))
    }
}
