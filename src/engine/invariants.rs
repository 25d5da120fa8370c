//! The engine's invariants, checked after each step in builds with debug assertions. A check looks at the step's key only, so
//! its cost does not grow with the number of locks or waiters. The documentation of [`super`] lists the invariants.

use super::names::KeyRef;
use super::server::{Key, Waiting};
use super::state::Engine;
use crate::lock::Holders;

impl<W: Waiting> Engine<W> {
    /// Panics if a step of this lock broke an invariant.
    pub(super) fn check_step<K: Key>(&mut self, at: KeyRef, key: &mut K) {
        let holders = key.stored().map(|stored| &stored.holders);
        assert!(holders != Some(&Holders::Free), "E1: {at:?} is free, and is a key");
        self.waits.check_queue(at, holders);
        self.check_nothing_lent();
    }

    /// Panics if a lock's deadline is not at the end of its next lease, under its name, after a change of the lock.
    pub(super) fn check_deadline<K: Key>(&mut self, at: KeyRef, key: &mut K) {
        let Some(stored) = key.stored() else { return };
        let name = self.leases.get_mut(stored.lease).map(|name| name.borrow() == at);
        assert!(name.is_none_or(|is_its| is_its), "E1: the deadline of {at:?} has another name");
        let end = self.leases.moment(stored.lease);
        assert!(end.is_none_or(|end| Some(end) == stored.holders.due()), "E1: the deadline of {at:?} is {end:?}");
    }

    /// Panics if a step left something behind that belongs to no lock.
    pub(super) fn check_nothing_lent(&self) {
        assert!(self.scratch.no_holders == Holders::Free, "E6: holders without a key");
        assert!(self.scratch.effects.is_empty(), "E6: effects that were not carried out");
        assert!(!self.waits.is_spare_used(), "E6: a queue without a lock");
    }
}
