//! Moments to come back to, each with what it is about: a binary heap whose entries can be moved and removed.
//!
//! Leases mostly have one length, so a new deadline is mostly the latest and stays where it is put; an uncontended lock
//! costs a few instructions here. A [`Slot`] names an entry for good: one that is gone is told apart from one that took
//! its place.

use crate::lock::Steady;

/// Names an entry of a [`Deadlines`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    index: u32,
    generation: u32,
}

impl Slot {
    /// Names no entry of any heap.
    pub const NONE: Slot = Slot { index: u32::MAX, generation: 0 };
}

#[derive(Debug)]
struct Entry<T> {
    generation: u32,
    /// Where in the heap, or the next free entry.
    place: u32,
    about: Option<T>,
}

/// Deadlines, earliest first. Every change is O(log n).
#[derive(Debug)]
pub struct Deadlines<T> {
    heap: Vec<(Steady, u32)>,
    entries: Vec<Entry<T>>,
    free: u32,
    /// Rises with every insertion, so that a slot is not mistaken for a later one in its place.
    generation: u32,
}

const NO_ENTRY: u32 = u32::MAX;
/// How many free entries are kept for the next ones when none is left.
const KEPT_WHEN_EMPTY: usize = 1024;

impl<T> Deadlines<T> {
    /// None yet.
    pub const fn new() -> Deadlines<T> {
        Deadlines { heap: Vec::new(), entries: Vec::new(), free: NO_ENTRY, generation: 0 }
    }

    /// How many.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.heap.len()
    }

    /// The earliest.
    pub fn first(&self) -> Option<Steady> {
        self.heap.first().map(|(at, _)| *at)
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
        self.heap.push((at, index));
        self.generation = self.generation.wrapping_add(1);
        let generation = self.generation;
        let entry = Entry { generation, place: 0, about: Some(about) };
        match self.entries.get_mut(index as usize) {
            Some(free) => *free = entry,
            None => self.entries.push(entry),
        }
        self.rise(place);
        Slot { index, generation }
    }

    /// What the entry is about; `None` when it is gone.
    pub fn get_mut(&mut self, slot: Slot) -> Option<&mut T> {
        self.entries.get_mut(slot.index as usize).filter(|entry| entry.generation == slot.generation)?.about.as_mut()
    }

    /// Sets another moment; false when the entry is gone.
    pub fn reset(&mut self, slot: Slot, at: Steady) -> bool {
        let Some(place) = self.place(slot) else { return false };
        let Some(there) = self.heap.get_mut(place) else { return false };
        there.0 = at;
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
        let about = entry.about.take();
        if self.heap.is_empty() && self.entries.len() > KEPT_WHEN_EMPTY {
            // What millions of locks took is given back.
            *self = Deadlines { generation: self.generation, ..Deadlines::new() };
        }
        about
    }

    /// Takes out the earliest if it is due.
    pub fn take_due(&mut self, now: Steady) -> Option<T> {
        let (at, index) = *self.heap.first()?;
        if at > now {
            return None;
        }
        let generation = self.entries.get(index as usize)?.generation;
        self.remove(Slot { index, generation })
    }

    /// What every entry is about, in no order.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.entries.iter_mut().filter_map(|entry| entry.about.as_mut())
    }

    /// Drops all entries that are not to be kept; linear in all.
    pub fn retain(&mut self, keep: impl Fn(&T) -> bool) {
        let dropped: Vec<Slot> = (0u32..)
            .zip(&self.entries)
            .filter(|(_, entry)| entry.about.as_ref().is_some_and(|about| !keep(about)))
            .map(|(index, entry)| Slot { index, generation: entry.generation })
            .collect();
        for slot in dropped {
            self.remove(slot);
        }
    }

    fn place(&self, slot: Slot) -> Option<usize> {
        let entry = self.entries.get(slot.index as usize)?;
        (entry.generation == slot.generation && entry.about.is_some()).then_some(entry.place as usize)
    }

    fn at(&self, place: usize) -> Option<Steady> {
        self.heap.get(place).map(|(at, _)| *at)
    }

    /// Writes down where the entry at `place` is now.
    fn note(&mut self, place: usize) {
        if let Some(entry) = self.heap.get(place).and_then(|(_, index)| self.entries.get_mut(*index as usize)) {
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

    #[derive(Clone, Debug)]
    enum Step {
        Insert(i64),
        Reset(prop::sample::Index, i64),
        Remove(prop::sample::Index),
        TakeDue(i64),
        RetainEven,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0..50i64).prop_map(Step::Insert),
            2 => (any::<prop::sample::Index>(), 0..50i64).prop_map(|(which, at)| Step::Reset(which, at)),
            2 => any::<prop::sample::Index>().prop_map(Step::Remove),
            2 => (0..50i64).prop_map(Step::TakeDue),
            1 => Just(Step::RetainEven),
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
                    Step::RetainEven => {
                        deadlines.retain(|name| name % 2 == 0);
                        model.retain(|name, _| name % 2 == 0);
                        slots.retain(|name, _| name % 2 == 0);
                    }
                }
                prop_assert_eq!(deadlines.len(), model.len());
                prop_assert_eq!(deadlines.first(), model.values().min().map(|at| Steady(*at)));
                prop_assert_eq!(deadlines.iter_mut().count(), model.len());
            }
        }
    }
}
