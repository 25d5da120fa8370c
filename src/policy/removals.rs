//! How many locks somebody else removed: operators, by DEL, FLUSHALL, SET over a lock or a TTL set by hand; or the server
//! itself, by eviction. A primary counts; its replicas remove what it removed.
//!
//! A value that leaves its key is told, but not why it leaves. What the server tells afterwards puts the number right: the
//! key was evicted or renamed, or the data set is loaded again.
//!
//! In a cluster a lock also leaves when its slot moves to another server, and at that moment nothing tells that from DEL. So
//! removals are counted later there, when the module has asked which server owns the key's slot now.

use std::collections::BTreeMap;
use std::mem;

use super::role::{DataSet, Role};
use super::slot_owner::SlotOwner;
use crate::lock::{Millis, Steady};

/// An eviction is told at once after the value left, but the process may be stopped in between. What comes later than this, in
/// milliseconds, is about another value of that name: one that was SET over the lock and is evicted itself.
const EVICTED_WITHIN: Millis = Millis(100);

/// Locks that left their keys in one slot and are not counted yet.
#[derive(Debug, PartialEq, Eq)]
pub struct Unexplained<K> {
    /// The key that was left last.
    pub key: K,
    /// How many locks left.
    locks: u64,
    /// How many of them were this server's until then: they were not coming in with their slot, nor gone with it before.
    own: u64,
}

/// Where a lock was that left its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// On a server without slots.
    Alone,
    /// In a slot of a cluster.
    Slot {
        /// The slot's number.
        slot: u16,
        /// Whether the lock was this server's until then.
        is_own: bool,
    },
}

/// The counters, and what is not counted yet. `K` names a key.
#[derive(Debug)]
pub struct Removals<K> {
    by_operators: u64,
    by_eviction: u64,
    /// The last key that a lock's value left, and when.
    last: Option<(K, Steady)>,
    /// How many locks were removed when the data set was flushed just now, perhaps to be loaded again.
    flushed: u64,
    /// In a cluster, by slot.
    unexplained: BTreeMap<u16, Unexplained<K>>,
}

impl<K> Removals<K> {
    /// Nothing was removed.
    pub const fn new() -> Removals<K> {
        Removals { by_operators: 0, by_eviction: 0, last: None, flushed: 0, unexplained: BTreeMap::new() }
    }

    /// How many locks operators removed since the start.
    pub fn by_operators(&self) -> u64 {
        self.by_operators
    }

    /// How many locks were evicted since the start.
    pub fn by_eviction(&self) -> u64 {
        self.by_eviction
    }

    /// A lock's value left its key `key`. True if the caller must find out which server owns the key's slot now, and
    /// [`explain`](Removals::explain) the removal.
    pub fn value_left(&mut self, key: K, now: Steady, place: Place) -> bool
    where
        K: Clone,
    {
        self.last = Some((key.clone(), now));
        match place {
            Place::Alone => {
                self.add(1);
                false
            }
            Place::Slot { slot, is_own } => {
                let of_slot =
                    self.unexplained.entry(slot).or_insert_with(|| Unexplained { key: key.clone(), locks: 0, own: 0 });
                of_slot.key = key;
                of_slot.locks += 1;
                of_slot.own += u64::from(is_own);
                true
            }
        }
    }

    /// Takes out what is not explained, one entry a slot.
    pub fn take_unexplained(&mut self) -> impl Iterator<Item = Unexplained<K>> {
        mem::take(&mut self.unexplained).into_values()
    }

    /// Counts the locks of a slot, now that its owner is known. If another server owns it, the locks moved there. If not, or
    /// if the cluster is down and nobody knows, somebody removed them. Returns how many moved to another server.
    pub fn explain(&mut self, of_slot: &Unexplained<K>, owner: SlotOwner) -> u64 {
        match owner {
            SlotOwner::Elsewhere => of_slot.own,
            SlotOwner::Here | SlotOwner::Down => {
                self.add(of_slot.locks);
                0
            }
        }
    }

    /// A key of this slot was evicted; `is_key` tells whether it is the one it is given. If a lock left that key just now, no
    /// operator removed it.
    pub fn evicted(&mut self, is_key: impl FnOnce(&K) -> bool, slot: u16, now: Steady) {
        let Some((key, when)) = self.last.take() else { return };
        if is_key(&key) && now < when + EVICTED_WITHIN {
            self.not_removed(slot);
            self.by_eviction = self.by_eviction.saturating_add(1);
        }
    }

    /// Something else happened to a key: what left before was not evicted.
    pub fn forget_last(&mut self) {
        self.last = None;
    }

    /// A lock that had left its key came to another key of this slot, so nobody removed it. In a cluster both keys are in
    /// one slot.
    pub fn not_removed(&mut self, slot: u16) {
        match self.unexplained.get_mut(&slot) {
            Some(of_slot) if of_slot.locks > 0 => {
                of_slot.locks -= 1;
                of_slot.own = of_slot.own.saturating_sub(1);
            }
            Some(_) | None => self.take_back(1),
        }
    }

    /// The data set was flushed, and this many locks with it.
    pub fn flushed(&mut self, locks: u64) {
        self.add(locks);
        self.flushed = locks;
    }

    /// The data set is loaded again: what was flushed just now was not removed.
    pub fn loads(&mut self) {
        let flushed = mem::take(&mut self.flushed);
        self.take_back(flushed);
    }

    /// Time has passed or the role changed: what was flushed before is not what is loaded next.
    pub fn forget_flush(&mut self) {
        self.flushed = 0;
    }

    fn add(&mut self, locks: u64) {
        self.by_operators = self.by_operators.saturating_add(locks);
    }

    fn take_back(&mut self, locks: u64) {
        self.by_operators = self.by_operators.saturating_sub(locks);
    }
}

/// Whether a lock counts that leaves its key or is flushed. A replica only removes what its primary removed. A server that
/// loads only repeats what was counted when it happened.
pub fn counts(role: Role, data_set: DataSet) -> bool {
    match (role, data_set) {
        (Role::Primary, DataSet::Complete) => true,
        (Role::Replica, _) | (_, DataSet::Loading) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counters<K>(removals: &Removals<K>) -> (u64, u64) {
        (removals.by_operators(), removals.by_eviction())
    }

    const OWN: Place = Place::Slot { slot: 5, is_own: true };
    const COMING: Place = Place::Slot { slot: 5, is_own: false };

    #[test]
    fn without_slots_a_removal_counts_at_once() {
        let mut removals = Removals::new();
        assert!(!removals.value_left("a", Steady(0), Place::Alone));
        assert_eq!(counters(&removals), (1, 0));
    }

    #[test]
    fn an_eviction_within_100_ms_is_no_operators_doing() {
        for (later_us, expected) in [(0, (0, 1)), (99_999, (0, 1)), (100_000, (1, 0))] {
            let mut removals = Removals::new();
            removals.value_left("a", Steady(7), Place::Alone);
            removals.evicted(|key| *key == "a", 5, Steady(7 + later_us));
            assert_eq!(counters(&removals), expected, "{later_us} us later");
        }
    }

    #[test]
    fn the_eviction_of_another_key_explains_nothing() {
        let mut removals = Removals::new();
        removals.value_left("a", Steady(0), Place::Alone);
        removals.evicted(|key| *key == "b", 5, Steady(0));
        assert_eq!(counters(&removals), (1, 0));
        removals.evicted(|key| *key == "a", 5, Steady(0));
        assert_eq!(counters(&removals), (1, 0), "only the very next event may explain it");
    }

    #[test]
    fn another_event_in_between_means_that_it_was_not_evicted() {
        let mut removals = Removals::new();
        removals.value_left("a", Steady(0), Place::Alone);
        removals.forget_last();
        removals.evicted(|key| *key == "a", 5, Steady(0));
        assert_eq!(counters(&removals), (1, 0));
    }

    #[test]
    fn one_lock_is_evicted_once() {
        let mut removals = Removals::new();
        removals.value_left("a", Steady(0), Place::Alone);
        removals.evicted(|key| *key == "a", 5, Steady(0));
        removals.evicted(|key| *key == "a", 5, Steady(0));
        assert_eq!(counters(&removals), (0, 1));
    }

    #[test]
    fn a_lock_that_came_to_another_key_was_not_removed() {
        let mut removals = Removals::new();
        removals.value_left("a", Steady(0), Place::Alone);
        removals.not_removed(5);
        assert_eq!(counters(&removals), (0, 0));
        removals.not_removed(5);
        assert_eq!(counters(&removals), (0, 0), "the counter never falls below zero");
    }

    #[test]
    fn in_a_cluster_a_removal_counts_when_its_slot_is_found_here() {
        let mut removals = Removals::new();
        assert!(removals.value_left("a", Steady(0), OWN) && removals.value_left("b", Steady(0), COMING));
        assert_eq!(counters(&removals), (0, 0));
        let unexplained: Vec<_> = removals.take_unexplained().collect();
        assert_eq!(unexplained, [Unexplained { key: "b", locks: 2, own: 1 }]);
        let moved: u64 = unexplained.iter().map(|of_slot| removals.explain(of_slot, SlotOwner::Here)).sum();
        assert_eq!((moved, counters(&removals)), (0, (2, 0)));
        assert_eq!(removals.take_unexplained().count(), 0);
    }

    #[test]
    fn locks_of_a_slot_that_is_elsewhere_moved_if_they_were_own() {
        let mut removals = Removals::new();
        removals.value_left("a", Steady(0), OWN);
        removals.value_left("b", Steady(0), COMING);
        removals.value_left("c", Steady(0), Place::Slot { slot: 6, is_own: true });
        let unexplained: Vec<_> = removals.take_unexplained().collect();
        let moved: Vec<_> = unexplained.iter().map(|of_slot| removals.explain(of_slot, SlotOwner::Elsewhere)).collect();
        assert_eq!((moved, counters(&removals)), (vec![1, 1], (0, 0)));
    }

    #[test]
    fn in_a_cluster_an_eviction_or_a_move_is_explained_before_it_is_counted() {
        let mut removals = Removals::new();
        removals.value_left("a", Steady(0), OWN);
        removals.evicted(|key| *key == "a", 5, Steady(0));
        removals.value_left("b", Steady(0), COMING);
        removals.not_removed(5);
        let unexplained: Vec<_> = removals.take_unexplained().collect();
        assert_eq!(unexplained, [Unexplained { key: "b", locks: 0, own: 0 }]);
        assert_eq!(removals.explain(&unexplained[0], SlotOwner::Here), 0);
        assert_eq!(counters(&removals), (0, 1));
    }

    #[test]
    fn what_was_counted_before_is_taken_back_if_nothing_waits_in_its_slot() {
        let mut removals = Removals::new();
        removals.value_left("a", Steady(0), OWN);
        let unexplained: Vec<_> = removals.take_unexplained().collect();
        removals.explain(&unexplained[0], SlotOwner::Here);
        removals.value_left("b", Steady(0), Place::Slot { slot: 6, is_own: true });
        removals.not_removed(5);
        assert_eq!(counters(&removals), (0, 0));
    }

    #[test]
    fn a_flushed_data_set_that_is_loaded_again_was_not_removed() {
        let mut removals = Removals::<&str>::new();
        removals.flushed(3);
        assert_eq!(counters(&removals), (3, 0));
        removals.loads();
        assert_eq!(counters(&removals), (0, 0));
        removals.flushed(4);
        removals.loads();
        removals.loads();
        assert_eq!(counters(&removals), (0, 0), "taken back once");
    }

    #[test]
    fn a_load_long_after_a_flush_takes_nothing_back() {
        let mut removals = Removals::<&str>::new();
        removals.flushed(3);
        removals.forget_flush();
        removals.loads();
        assert_eq!(counters(&removals), (3, 0));
    }

    #[test]
    fn only_a_primary_that_does_not_load_counts() {
        assert!(counts(Role::Primary, DataSet::Complete));
        assert!(!counts(Role::Primary, DataSet::Loading));
        assert!(!counts(Role::Replica, DataSet::Complete) && !counts(Role::Replica, DataSet::Loading));
    }
}
