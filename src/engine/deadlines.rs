//! Deadlines: a binary heap of moments, each with what it is about, whose entries can be moved and removed.
//!
//! Leases mostly have one length, so a new deadline is mostly the latest and stays where it is put. An uncontended lock costs
//! a few instructions here. An [`EntryId`] identifies an entry until it is removed.
//!
//! There may be millions of locks, so memory counts: beside what it is about, an entry costs 8 bytes, and 12 in the heap. And
//! no table may grow all at once: see [`super::chunks`].

use super::chunks::Chunks;
use super::entries::{Entries, EntryId, Generation};
use crate::lock::Steady;

/// The moment of an entry that was [handed out](Deadlines::hand_out_due): the end of time, which no deadline reaches.
const HANDED_OUT: Steady = Steady(i64::MAX);

/// A walk passes so many places for each entry that it may show. A free place costs it next to nothing.
const PLACES_PER_ENTRY: usize = 64;

/// An element of the heap: a moment, and the index of its entry.
#[derive(Clone, Copy, Debug)]
struct Due {
    /// The bytes of the moment. An `i64` would have to be aligned, which costs 4 bytes more.
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
    heap: Chunks<Due>,
    /// The note of an entry is its place in the heap.
    entries: Entries<T>,
}

impl<T: Default> Deadlines<T> {
    /// No deadlines.
    pub const fn new() -> Deadlines<T> {
        Deadlines { heap: Chunks::new(), entries: Entries::new() }
    }

    /// The number of deadlines.
    pub fn len(&self) -> usize {
        self.heap.len()
    }

    /// The earliest deadline; `None` if there is none that was not handed out.
    pub fn first(&self) -> Option<Steady> {
        self.heap.get(0).map(Due::at).filter(|at| *at < HANDED_OUT)
    }

    /// Adds a deadline. Beyond 2^32 - 1 entries it is dropped, and the result is [`EntryId::NONE`].
    pub fn insert(&mut self, at: Steady, about: T) -> EntryId {
        let place = self.heap.len();
        let Some(id) = self.entries.insert(about, place as u32) else { return EntryId::NONE };
        let due = Due::new(at, id.index());
        self.heap.push(due);
        // Mostly it is the latest.
        if let Some(above) = self.later_above(place, due) {
            self.rise(place, due, above);
        }
        id
    }

    /// What the entry is about. `None` if it is gone.
    pub fn get_mut(&mut self, id: EntryId) -> Option<&mut T> {
        self.entries.get_mut(id).map(|entry| &mut entry.about)
    }

    /// The moment of the entry. `None` if it is gone.
    #[cfg(any(test, fuzzing, debug_assertions))]
    pub fn moment(&mut self, id: EntryId) -> Option<Steady> {
        let place = self.entries.get_mut(id)?.note as usize;
        self.heap.get(place).map(Due::at)
    }

    /// Moves the entry to another moment. False if it is gone.
    pub fn reset(&mut self, id: EntryId, at: Steady) -> bool {
        let Some(entry) = self.entries.get_mut(id) else { return false };
        let place = entry.note as usize;
        self.settle(place, Due::new(at, id.index()));
        true
    }

    /// Removes an entry, and returns what it is about. `None` if it is gone already.
    pub fn remove(&mut self, id: EntryId) -> Option<T> {
        let (about, place) = self.entries.remove(id)?;
        let last = self.heap.pop()?;
        if (place as usize) < self.heap.len() {
            self.settle(place as usize, last);
        } else if self.heap.len() == 0 {
            // Frees the memory that millions of locks took.
            self.entries.trim();
        }
        Some(about)
    }

    /// Removes the earliest entry if it is due, and returns what it is about.
    pub fn take_due(&mut self, now: Steady) -> Option<T> {
        let earliest = *self.heap.get(0)?;
        if earliest.at() > now {
            return None;
        }
        let (id, _) = self.entries.used(earliest.index)?;
        self.remove(id)
    }

    /// Hands out the earliest entry if it is due: its id, and what it is about. It keeps its place in the table, but has no
    /// moment any more until it is [reset](Deadlines::reset).
    pub fn hand_out_due(&mut self, now: Steady) -> Option<(EntryId, &T)> {
        let earliest = *self.heap.get(0)?;
        if earliest.at() > now || earliest.at() == HANDED_OUT {
            return None;
        }
        self.settle(0, Due::new(HANDED_OUT, earliest.index));
        self.entries.used(earliest.index)
    }

    /// Shows what the next `count` entries from this place on are about. Returns the place to go on from; `None` at the end.
    /// It stops earlier after many free places, so that its work is bounded. An entry keeps its place until it is removed.
    pub fn walk(&self, from: u32, count: usize, mut each: impl FnMut(&T)) -> Option<u32> {
        let (mut place, mut shown) = (from, 0);
        for _ in 0..count.saturating_mul(PLACES_PER_ENTRY) {
            if shown == count || place >= self.entries.end() {
                break;
            }
            if let Some((_, about)) = self.entries.used(place) {
                each(about);
                shown += 1;
            }
            place = self.entries.next_place(place);
        }
        (place < self.entries.end()).then_some(place)
    }

    /// What each entry is about, in no particular order.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.entries.iter_mut()
    }

    /// Drops all entries that `keep` refuses, and returns how many. Linear in all entries.
    pub fn retain(&mut self, keep: impl Fn(&T) -> bool) -> usize {
        let before = self.len();
        for index in 0..self.entries.places() {
            if let Some((id, _)) = self.entries.used(index).filter(|(_, about)| !keep(about)) {
                self.entries.remove(id);
            }
        }
        self.heap.retain(|due| self.entries.used(due.index).is_some());
        if self.len() == 0 {
            self.entries.trim();
        }
        // From the last to the first: when one is put in its place, those below it are in order already.
        for place in (0..self.len()).rev() {
            if let Some(due) = self.heap.get(place).copied() {
                self.sink(place, due);
            }
        }
        before - self.len()
    }

    /// The present generation, which distinguishes the entries so far from later ones.
    pub fn generation(&self) -> Generation {
        self.entries.generation()
    }

    /// Looks at `count` places from `from` on, and drops the entries there that are `gone` and came no later than the
    /// generation. Returns how many were dropped, and the place to go on from; `None` at the end.
    pub fn drop_some(
        &mut self,
        generation: Generation,
        from: u32,
        count: u32,
        gone: impl Fn(&T) -> bool,
    ) -> (usize, Option<u32>) {
        let (before, end) = (self.len(), from.saturating_add(count));
        for index in from..end.min(self.entries.places()) {
            let found = self.entries.used(index).filter(|(_, about)| gone(about)).map(|(id, _)| id);
            if let Some(id) = found.filter(|id| !self.entries.is_later(*id, generation)) {
                self.remove(id);
            }
        }
        (before - self.len(), (end < self.entries.places()).then_some(end))
    }

    /// Puts `due` in `place`, whose entry has gone, or as near as the order allows.
    #[inline]
    fn settle(&mut self, place: usize, due: Due) {
        match self.later_above(place, due) {
            Some(above) => self.rise(place, due, above),
            None => self.sink(place, due),
        }
    }

    /// What stands above `place` and must not stand above `due`.
    #[inline]
    fn later_above(&self, place: usize, due: Due) -> Option<Due> {
        let above = self.heap.get(place.checked_sub(1)? / 2)?;
        (above.at() > due.at()).then_some(*above)
    }

    /// Puts `due` where it belongs between `place` and the first: above `above` at least, which stands above `place`.
    fn rise(&mut self, mut place: usize, due: Due, mut above: Due) {
        loop {
            self.put(place, above);
            place = place.saturating_sub(1) / 2;
            match self.later_above(place, due) {
                Some(next) => above = next,
                None => break,
            }
        }
        self.put(place, due);
    }

    /// Puts `due` where it belongs between `place` and the last ones.
    #[inline]
    fn sink(&mut self, mut place: usize, due: Due) {
        let mut child = 2 * place + 1;
        while let Some(mut below) = self.heap.get(child).copied() {
            if let Some(right) = self.heap.get(child + 1).filter(|right| right.at() < below.at()) {
                (below, child) = (*right, child + 1);
            }
            if due.at() <= below.at() {
                break;
            }
            self.put(place, below);
            place = child;
            child = 2 * place + 1;
        }
        self.put(place, due);
    }

    /// Puts `due` in `place`, and writes down in its entry where it is.
    #[inline]
    fn put(&mut self, place: usize, due: Due) {
        if let Some(there) = self.heap.get_mut(place) {
            *there = due;
        }
        if let Some(entry) = self.entries.at(due.index) {
            entry.note = place as u32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::chunks::CHUNK;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[test]
    fn an_entry_costs_12_bytes_in_the_heap() {
        assert_eq!(size_of::<Due>(), 12);
    }

    #[test]
    fn emptied_it_gives_its_memory_back() {
        let many = 8 * CHUNK;
        let mut deadlines = Deadlines::new();
        for by_retain in [true, false] {
            let entries: Vec<EntryId> = (0..many).map(|name| deadlines.insert(Steady(0), name)).collect();
            if by_retain {
                assert_eq!(deadlines.retain(|_| false), many);
            } else {
                assert!((0..many).all(|_| deadlines.take_due(Steady(0)).is_some()));
            }
            assert_eq!(deadlines.len(), 0);
            assert!(deadlines.heap.capacity() + deadlines.entries.capacity() <= 3 * CHUNK);
            let id = deadlines.insert(Steady(0), 7);
            assert!(entries.into_iter().all(|gone| deadlines.get_mut(gone).is_none()));
            assert_eq!(deadlines.remove(id), Some(7));
        }
    }

    #[test]
    fn entries_of_a_later_generation_are_not_dropped() {
        // The generation begins anew in between.
        for generation in [0, u32::MAX - 20] {
            let mut deadlines = Deadlines::new();
            deadlines.entries.set_generation(generation);
            let old: Vec<EntryId> = (0..10).map(|name| deadlines.insert(Steady(0), name)).collect();
            let before = deadlines.generation();
            // These take the places of two that went by themselves, and are called as they were.
            deadlines.remove(old[2]);
            deadlines.remove(old[4]);
            let new: Vec<EntryId> = [2, 4, 6].map(|name| deadlines.insert(Steady(0), name)).to_vec();
            let (mut dropped, mut next) = (0, Some(0));
            while let Some(from) = next {
                let (more, then) = deadlines.drop_some(before, from, 3, |name| name % 2 == 0);
                assert!(more <= 3);
                (dropped, next) = (dropped + more, then);
            }
            assert_eq!(dropped, 3, "0, 6 and 8");
            assert!(new.into_iter().all(|id| deadlines.get_mut(id).is_some()));
            assert_eq!(deadlines.len(), 8);
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Insert(i64),
        Reset(prop::sample::Index, i64),
        Remove(prop::sample::Index),
        TakeDue(i64),
        HandOutDue(i64),
        RetainOdd,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => (0..50i64).prop_map(Step::Insert),
            2 => (any::<prop::sample::Index>(), 0..50i64).prop_map(|(which, at)| Step::Reset(which, at)),
            2 => any::<prop::sample::Index>().prop_map(Step::Remove),
            2 => (0..50i64).prop_map(Step::TakeDue),
            2 => (0..50i64).prop_map(Step::HandOutDue),
            1 => Just(Step::RetainOdd),
        ]
    }

    proptest! {
        #[test]
        fn it_is_a_sorted_map(steps in prop::collection::vec(step(), 1..200)) {
            let mut deadlines = Deadlines::new();
            let mut model: BTreeMap<u64, i64> = BTreeMap::new();
            let mut entries: BTreeMap<u64, EntryId> = BTreeMap::new();
            for (name, step) in (0u64..).zip(steps) {
                let pick = |which: prop::sample::Index| (name > 0).then(|| which.index(name as usize) as u64);
                match step {
                    Step::Insert(at) => {
                        entries.insert(name, deadlines.insert(Steady(at), name));
                        model.insert(name, at);
                    }
                    Step::Reset(which, at) => {
                        if let Some((name, id)) = pick(which).and_then(|name| Some((name, *entries.get(&name)?))) {
                            prop_assert_eq!(deadlines.reset(id, Steady(at)), model.contains_key(&name));
                            model.entry(name).and_modify(|there| *there = at);
                        }
                    }
                    Step::Remove(which) => {
                        if let Some((name, id)) = pick(which).and_then(|name| Some((name, *entries.get(&name)?))) {
                            prop_assert_eq!(deadlines.remove(id), model.remove(&name).map(|_| name));
                        }
                    }
                    Step::TakeDue(now) => {
                        let taken = deadlines.take_due(Steady(now));
                        let due = model.values().min().filter(|at| **at <= now).copied();
                        prop_assert_eq!(taken.and_then(|name| model.remove(&name)), due);
                    }
                    Step::HandOutDue(now) => {
                        let handed = deadlines.hand_out_due(Steady(now)).map(|(id, name)| (id, *name));
                        let due = model.values().min().filter(|at| **at <= now).copied();
                        prop_assert_eq!(handed.map(|(_, name)| model[&name]), due);
                        if let Some((id, name)) = handed {
                            prop_assert_eq!(entries[&name], id, "it keeps its place");
                            model.insert(name, i64::MAX);
                        }
                    }
                    // Zero is what free entries are about, and is not kept: they must not be counted.
                    Step::RetainOdd => {
                        let before = model.len();
                        model.retain(|name, _| name % 2 == 1);
                        prop_assert_eq!(deadlines.retain(|name| name % 2 == 1), before - model.len());
                    }
                }
                prop_assert_eq!(deadlines.len(), model.len());
                let first = model.values().min().filter(|at| **at < i64::MAX);
                prop_assert_eq!(deadlines.first(), first.map(|at| Steady(*at)));
                let mut walked = Vec::new();
                let mut next = Some(0);
                while let Some(from) = next {
                    next = deadlines.walk(from, 3, |name| walked.push(*name));
                }
                walked.sort_unstable();
                prop_assert!(walked.iter().eq(model.keys()), "a walk passes every entry once");
                let mut names: Vec<u64> = deadlines.iter_mut().map(|name| *name).collect();
                names.sort_unstable();
                prop_assert!(names.iter().eq(model.keys()));
                for (name, id) in &entries {
                    prop_assert_eq!(deadlines.get_mut(*id).copied(), model.contains_key(name).then_some(*name));
                }
            }
        }
    }
}
