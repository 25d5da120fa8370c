//! Moments to come back to, each with what it is about: a binary heap whose entries can be moved and removed.
//!
//! Leases mostly have one length, so a new deadline is mostly the latest and stays where it is put; an uncontended lock
//! costs a few instructions here. A [`Slot`] names an entry for good: one that is gone is told apart from one that took
//! its place.
//!
//! There may be millions of locks, so bytes count: beside what it is about an entry costs 8, and 12
//! in the heap.

use crate::lock::Steady;

/// Names an entry of a [`Deadlines`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    index: u32,
    generation: u32,
}

impl Slot {
    /// Names no entry of any heap.
    pub const NONE: Slot = Slot { index: NO_ENTRY, generation: FREE };
}

/// A moment between two insertions.
#[derive(Clone, Copy, Debug)]
pub struct Mark(u32);

const NO_ENTRY: u32 = u32::MAX;
/// The generation of a free entry, and of no slot that names one: where the generations agree, the entry is there.
const FREE: u32 = 0;

#[derive(Debug)]
struct Entry<T> {
    generation: u32,
    /// Where in the heap; of a free entry: the next free one.
    place: u32,
    /// Of a free entry: the default. An `Option` would cost 8 bytes more.
    about: T,
}

/// What stands in the heap: when, and the index of the entry.
#[derive(Clone, Copy, Debug)]
struct Due {
    /// The bytes of the moment. As an `i64` it would have to be aligned, for 4 bytes more.
    at: [u8; 8],
    index: u32,
}

impl Due {
    fn new(at: Steady, index: u32) -> Due {
        Due { at: at.0.to_ne_bytes(), index }
    }

    fn at(&self) -> Steady {
        Steady(i64::from_ne_bytes(self.at))
    }
}

/// Deadlines, earliest first. Every change is O(log n).
#[derive(Debug)]
pub struct Deadlines<T> {
    heap: Vec<Due>,
    entries: Vec<Entry<T>>,
    free: u32,
    /// Rises with every insertion, so that a slot is not mistaken for a later one in its place.
    generation: u32,
}

/// How many free entries are kept for the next ones when none is left.
const KEPT_WHEN_EMPTY: usize = 1024;

impl<T: Default> Deadlines<T> {
    /// None yet.
    pub const fn new() -> Deadlines<T> {
        Deadlines { heap: Vec::new(), entries: Vec::new(), free: NO_ENTRY, generation: FREE }
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.heap.len()
    }

    /// The earliest.
    pub fn first(&self) -> Option<Steady> {
        self.heap.first().map(Due::at)
    }

    /// Adds one. Beyond 2^32 - 1 entries it is not kept, and [`Slot::NONE`] returned.
    pub fn insert(&mut self, at: Steady, about: T) -> Slot {
        let index = match self.entries.get_mut(self.free as usize) {
            Some(entry) => std::mem::replace(&mut self.free, entry.place),
            None => self.entries.len() as u32,
        };
        if index == NO_ENTRY {
            return Slot::NONE;
        }
        let place = self.heap.len();
        self.heap.push(Due::new(at, index));
        // After 2^32 insertions it begins anew, and leaves out the one that means free.
        self.generation = self.generation.wrapping_add(1).max(FREE + 1);
        let generation = self.generation;
        let entry = Entry { generation, place: 0, about };
        match self.entries.get_mut(index as usize) {
            Some(free) => *free = entry,
            None => self.entries.push(entry),
        }
        self.rise(place);
        Slot { index, generation }
    }

    /// What the entry is about; `None` when it is gone.
    pub fn get_mut(&mut self, slot: Slot) -> Option<&mut T> {
        let entry = self.entries.get_mut(slot.index as usize)?;
        (entry.generation == slot.generation).then_some(&mut entry.about)
    }

    /// Sets another moment; false when the entry is gone.
    pub fn reset(&mut self, slot: Slot, at: Steady) -> bool {
        let Some(place) = self.place(slot) else { return false };
        let Some(there) = self.heap.get_mut(place) else { return false };
        *there = Due::new(at, slot.index);
        self.rise(place);
        if let Some(place) = self.place(slot) {
            self.sink(place);
        }
        true
    }

    /// Takes an entry out; `None` when it is gone already.
    pub fn remove(&mut self, slot: Slot) -> Option<T> {
        let place = self.place(slot)?;
        let last = self.heap.pop()?;
        if let Some(there) = self.heap.get_mut(place) {
            *there = last;
            self.rise(place);
            self.sink(place);
        }
        let entry = self.entries.get_mut(slot.index as usize)?;
        entry.place = std::mem::replace(&mut self.free, slot.index);
        entry.generation = FREE;
        let about = std::mem::take(&mut entry.about);
        if self.heap.is_empty() && self.entries.len() > KEPT_WHEN_EMPTY {
            // What millions of locks took is given back.
            *self = Deadlines { generation: self.generation, ..Deadlines::new() };
        }
        Some(about)
    }

    /// Takes out the earliest if it is due.
    pub fn take_due(&mut self, now: Steady) -> Option<T> {
        let earliest = *self.heap.first()?;
        if earliest.at() > now {
            return None;
        }
        let generation = self.entries.get(earliest.index as usize)?.generation;
        self.remove(Slot { index: earliest.index, generation })
    }

    /// What every entry is about, in no order.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.entries.iter_mut().filter(|entry| entry.generation != FREE).map(|entry| &mut entry.about)
    }

    /// Drops all entries that are not to be kept, and says how many; goes through all.
    pub fn retain(&mut self, keep: impl Fn(&T) -> bool) -> usize {
        let before = self.len();
        for index in 0..self.entries.len() {
            // When the last one goes, the free entries may go with it.
            let Some(entry) = self.entries.get(index) else { break };
            if entry.generation != FREE && !keep(&entry.about) {
                self.remove(Slot { index: index as u32, generation: entry.generation });
            }
        }
        before - self.len()
    }

    /// What tells entries of now from those that come later.
    pub fn mark(&self) -> Mark {
        Mark(self.generation)
    }

    /// Looks at so many places from `from` on, and drops what was there at the mark and is `gone`. Returns how many, and where
    /// to go on; `None` at the end.
    pub fn drop_some(
        &mut self,
        mark: Mark,
        from: usize,
        count: usize,
        gone: impl Fn(&T) -> bool,
    ) -> (usize, Option<usize>) {
        let (before, end) = (self.len(), from.saturating_add(count));
        // Since the mark there were far fewer insertions than there are generations.
        let later = self.generation.wrapping_sub(mark.0);
        for index in from..end {
            // When the last one goes, the free entries may go with it.
            let Some(entry) = self.entries.get(index) else { return (before - self.len(), None) };
            let is_later = (1..=later).contains(&entry.generation.wrapping_sub(mark.0));
            if entry.generation != FREE && !is_later && gone(&entry.about) {
                self.remove(Slot { index: index as u32, generation: entry.generation });
            }
        }
        (before - self.len(), Some(end))
    }

    fn place(&self, slot: Slot) -> Option<usize> {
        let entry = self.entries.get(slot.index as usize)?;
        (entry.generation == slot.generation).then_some(entry.place as usize)
    }

    fn at(&self, place: usize) -> Option<Steady> {
        self.heap.get(place).map(Due::at)
    }

    /// Writes down where the entry at `place` is now.
    fn note(&mut self, place: usize) {
        if let Some(entry) = self.heap.get(place).and_then(|due| self.entries.get_mut(due.index as usize)) {
            entry.place = place as u32;
        }
    }

    fn rise(&mut self, mut place: usize) {
        while place > 0 {
            let parent = (place - 1) / 2;
            if self.at(parent) <= self.at(place) {
                break;
            }
            self.heap.swap(parent, place);
            self.note(place);
            place = parent;
        }
        self.note(place);
    }

    fn sink(&mut self, mut place: usize) {
        loop {
            let (left, right) = (2 * place + 1, 2 * place + 2);
            let Some(at_left) = self.at(left) else { break };
            let child = if self.at(right).is_some_and(|at_right| at_right < at_left) { right } else { left };
            if self.at(place) <= self.at(child) {
                break;
            }
            self.heap.swap(place, child);
            self.note(place);
            place = child;
        }
        self.note(place);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[test]
    fn an_entry_costs_20_bytes_beside_what_it_is_about() {
        assert_eq!(size_of::<Entry<[u64; 4]>>(), 8 + size_of::<[u64; 4]>());
        assert_eq!(size_of::<Due>(), 12);
    }

    #[test]
    fn no_slot_names_a_free_entry() {
        let mut deadlines = Deadlines { generation: u32::MAX - 1, ..Deadlines::new() };
        // The last generation before it begins anew, and the first after.
        for name in [1, 2] {
            let slot = deadlines.insert(Steady(name), name);
            assert_eq!(deadlines.get_mut(slot), Some(&mut name.clone()));
            assert_eq!(deadlines.remove(slot), Some(name));
            assert_eq!(deadlines.get_mut(slot), None);
            assert!(!deadlines.reset(slot, Steady(0)));
            assert_eq!((deadlines.remove(slot), deadlines.remove(Slot::NONE)), (None, None));
        }
    }

    #[test]
    fn emptied_by_retain_it_gives_its_memory_back() {
        let mut deadlines = Deadlines::new();
        let many = 2 * KEPT_WHEN_EMPTY;
        let slots: Vec<Slot> = (0..many).map(|name| deadlines.insert(Steady(0), name)).collect();
        assert_eq!(deadlines.retain(|_| false), many);
        assert_eq!((deadlines.len(), deadlines.heap.capacity(), deadlines.entries.capacity()), (0, 0, 0));
        let slot = deadlines.insert(Steady(0), 7);
        assert!(slots.into_iter().all(|gone| deadlines.get_mut(gone).is_none()));
        assert_eq!(deadlines.remove(slot), Some(7));
    }

    #[test]
    fn what_comes_after_a_mark_is_not_dropped_by_it() {
        // The generation begins anew in between.
        for generation in [FREE, u32::MAX - 20] {
            let mut deadlines = Deadlines { generation, ..Deadlines::new() };
            let old: Vec<Slot> = (0..10).map(|name| deadlines.insert(Steady(0), name)).collect();
            let mark = deadlines.mark();
            // These take the places of two that went by themselves, and are called as they were.
            deadlines.remove(old[2]);
            deadlines.remove(old[4]);
            let new: Vec<Slot> = [2, 4, 6].map(|name| deadlines.insert(Steady(0), name)).to_vec();
            let (mut dropped, mut next) = (0, Some(0));
            while let Some(from) = next {
                let (more, then) = deadlines.drop_some(mark, from, 3, |name| name % 2 == 0);
                assert!(more <= 3);
                (dropped, next) = (dropped + more, then);
            }
            assert_eq!(dropped, 3, "0, 6 and 8");
            assert!(new.into_iter().all(|slot| deadlines.get_mut(slot).is_some()));
            assert_eq!(deadlines.len(), 8);
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Insert(i64),
        Reset(prop::sample::Index, i64),
        Remove(prop::sample::Index),
        TakeDue(i64),
        RetainOdd,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0..50i64).prop_map(Step::Insert),
            2 => (any::<prop::sample::Index>(), 0..50i64).prop_map(|(which, at)| Step::Reset(which, at)),
            2 => any::<prop::sample::Index>().prop_map(Step::Remove),
            2 => (0..50i64).prop_map(Step::TakeDue),
            1 => Just(Step::RetainOdd),
        ]
    }

    proptest! {
        #[test]
        fn it_is_a_sorted_map(steps in prop::collection::vec(step(), 1..120)) {
            let mut deadlines = Deadlines::new();
            let mut model: BTreeMap<u64, i64> = BTreeMap::new();
            let mut slots: BTreeMap<u64, Slot> = BTreeMap::new();
            for (name, step) in (0u64..).zip(steps) {
                let pick = |which: prop::sample::Index| (name > 0).then(|| which.index(name as usize) as u64);
                match step {
                    Step::Insert(at) => {
                        slots.insert(name, deadlines.insert(Steady(at), name));
                        model.insert(name, at);
                    }
                    Step::Reset(which, at) => {
                        if let Some((name, slot)) = pick(which).and_then(|name| Some((name, *slots.get(&name)?))) {
                            prop_assert_eq!(deadlines.reset(slot, Steady(at)), model.contains_key(&name));
                            model.entry(name).and_modify(|there| *there = at);
                        }
                    }
                    Step::Remove(which) => {
                        if let Some((name, slot)) = pick(which).and_then(|name| Some((name, *slots.get(&name)?))) {
                            prop_assert_eq!(deadlines.remove(slot), model.remove(&name).map(|_| name));
                        }
                    }
                    Step::TakeDue(now) => {
                        let taken = deadlines.take_due(Steady(now));
                        let due = model.values().min().filter(|at| **at <= now).copied();
                        prop_assert_eq!(taken.and_then(|name| model.remove(&name)), due);
                    }
                    // Zero is what free entries are about, and is not kept: they must not be counted.
                    Step::RetainOdd => {
                        let before = model.len();
                        model.retain(|name, _| name % 2 == 1);
                        prop_assert_eq!(deadlines.retain(|name| name % 2 == 1), before - model.len());
                    }
                }
                prop_assert_eq!(deadlines.len(), model.len());
                prop_assert_eq!(deadlines.first(), model.values().min().map(|at| Steady(*at)));
                let mut names: Vec<u64> = deadlines.iter_mut().map(|name| *name).collect();
                names.sort_unstable();
                prop_assert!(names.iter().eq(model.keys()));
                for (name, slot) in &slots {
                    prop_assert_eq!(deadlines.get_mut(*slot).copied(), model.contains_key(name).then_some(*name));
                }
            }
        }
    }
}
