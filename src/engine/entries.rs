//! A table of entries that keep their place, each with an id that is never given again.
//!
//! An [`EntryId`] distinguishes an entry that is gone from one that took its place. There may be millions of entries,
//! so they come by [chunks], and a chunk that holds none gives its memory back.

use std::mem;

use super::chunks::{self, CHUNK};

/// Identifies an entry of an [`Entries`] table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryId {
    index: u32,
    generation: u32,
}

impl EntryId {
    /// The id of no entry.
    pub const NONE: EntryId = EntryId { index: NO_ENTRY, generation: FREE };

    /// The place of the entry in its table.
    pub fn index(self) -> u32 {
        self.index
    }
}

const NO_ENTRY: u32 = u32::MAX;
/// The generation of a free entry. No id of an entry has it, so an entry is there if the generations agree.
const FREE: u32 = 0;

/// A moment between two insertions: tells the entries before it from those after it.
#[derive(Clone, Copy, Debug)]
pub struct Generation(u32);

/// An entry of a table.
#[derive(Debug)]
pub struct Entry<T> {
    generation: u32,
    /// For the user of the table. In a free entry: the next free entry of the chunk.
    pub note: u32,
    /// What the entry is about; the default in a free entry. An `Option` would cost 8 bytes more.
    pub about: T,
}

impl<T> Entry<T> {
    fn is_free(&self) -> bool {
        self.generation == FREE
    }
}

#[derive(Debug)]
struct Chunk<T> {
    /// The entries so far. Those that were never used are not there yet.
    entries: Vec<Entry<T>>,
    /// The first free entry.
    free: u32,
    /// The number of entries that are not free.
    used: u32,
}

impl<T> Chunk<T> {
    const EMPTY: Chunk<T> = Chunk { entries: Vec::new(), free: NO_ENTRY, used: 0 };
}

/// A table of entries.
#[derive(Debug)]
pub struct Entries<T> {
    chunks: Vec<Chunk<T>>,
    /// The chunks that have a free entry. The next one is taken from the last of them.
    with_room: Vec<u32>,
    /// The chunk that became empty last: its memory is kept for the next entries.
    spare: Option<u32>,
    /// Rises with every insertion, so that an id is not mistaken for a later one in its place.
    generation: u32,
}

impl<T: Default> Entries<T> {
    /// An empty table.
    pub const fn new() -> Entries<T> {
        Entries { chunks: Vec::new(), with_room: Vec::new(), spare: None, generation: FREE }
    }

    /// Adds an entry, with a note. `None` beyond what 32 bits can tell apart.
    pub fn insert(&mut self, about: T, note: u32) -> Option<EntryId> {
        let number = match self.with_room.last() {
            Some(number) => *number,
            None => self.add_chunk()?,
        };
        let is_only = self.chunks.len() == 1;
        let chunk = self.chunks.get_mut(number as usize)?;
        // After 2^32 insertions it begins anew. It skips the number that means free.
        self.generation = self.generation.wrapping_add(1).max(FREE + 1);
        let entry = Entry { generation: self.generation, note, about };
        let place = match chunk.entries.get_mut(chunk.free as usize) {
            Some(free) => {
                let next = free.note;
                *free = entry;
                mem::replace(&mut chunk.free, next)
            }
            None => {
                chunks::push(&mut chunk.entries, is_only, entry);
                (chunk.entries.len() - 1) as u32
            }
        };
        chunk.used += 1;
        if chunk.used == CHUNK as u32 {
            self.with_room.pop();
        }
        Some(EntryId { index: number * CHUNK as u32 + place, generation: self.generation })
    }

    #[cold]
    fn add_chunk(&mut self) -> Option<u32> {
        let number = u32::try_from(self.chunks.len()).ok().filter(|number| *number < NO_ENTRY / CHUNK as u32)?;
        self.chunks.push(Chunk::EMPTY);
        self.with_room.push(number);
        Some(number)
    }

    /// The entry with this id; `None` if it is gone.
    pub fn get_mut(&mut self, id: EntryId) -> Option<&mut Entry<T>> {
        self.at(id.index).filter(|entry| entry.generation == id.generation)
    }

    /// The entry in this place, free or not.
    #[inline]
    pub fn at(&mut self, index: u32) -> Option<&mut Entry<T>> {
        let (number, place) = split(index);
        self.chunks.get_mut(number as usize)?.entries.get_mut(place)
    }

    /// The id of the entry in this place, and what it is about; `None` if the place is free.
    pub fn used(&self, index: u32) -> Option<(EntryId, &T)> {
        let (number, place) = split(index);
        let entry = self.chunks.get(number as usize)?.entries.get(place).filter(|entry| !entry.is_free())?;
        Some((EntryId { index, generation: entry.generation }, &entry.about))
    }

    /// Takes an entry out, with its note; `None` if it is gone already.
    #[inline]
    pub fn remove(&mut self, id: EntryId) -> Option<(T, u32)> {
        let (number, place) = split(id.index);
        let chunk = self.chunks.get_mut(number as usize)?;
        let entry = chunk.entries.get_mut(place).filter(|entry| entry.generation == id.generation)?;
        entry.generation = FREE;
        let note = mem::replace(&mut entry.note, chunk.free);
        chunk.free = place as u32;
        let about = mem::take(&mut entry.about);
        if chunk.used == CHUNK as u32 {
            self.with_room.push(number);
        }
        chunk.used -= 1;
        if chunk.used == 0 {
            self.emptied(number);
        }
        Some((about, note))
    }

    /// Of the empty chunks only the one that was used last keeps its memory.
    #[cold]
    fn emptied(&mut self, number: u32) {
        let before = self.spare.replace(number).filter(|before| *before != number);
        let before = before.and_then(|before| self.chunks.get_mut(before as usize));
        if let Some(chunk) = before.filter(|chunk| chunk.used == 0) {
            *chunk = Chunk::EMPTY;
        }
    }

    /// Frees all memory but that of a single chunk. To be called only when every entry is free.
    pub fn trim(&mut self) {
        if self.chunks.len() > 1 {
            *self = Entries { generation: self.generation, ..Entries::new() };
        }
    }

    /// The present generation, which distinguishes the entries so far from later ones.
    pub fn generation(&self) -> Generation {
        Generation(self.generation)
    }

    /// Whether this entry came after that generation. Since then there were far fewer insertions than there are generations.
    pub fn is_later(&self, id: EntryId, before: Generation) -> bool {
        let later = self.generation.wrapping_sub(before.0);
        (1..=later).contains(&id.generation.wrapping_sub(before.0))
    }

    /// How many places there are, free or not.
    pub fn places(&self) -> u32 {
        (self.chunks.len() * CHUNK) as u32
    }

    /// The place after the last one that was ever used, since the table was empty.
    pub fn end(&self) -> u32 {
        let in_last = self.chunks.last().map_or(0, |chunk| chunk.entries.len());
        (self.chunks.len().saturating_sub(1) * CHUNK + in_last) as u32
    }

    /// The place after this one; the first place of the next chunk if the rest of this chunk was never used, or all of it is
    /// free.
    pub fn next_place(&self, index: u32) -> u32 {
        let (number, place) = split(index);
        let chunk = self.chunks.get(number as usize).filter(|chunk| chunk.used > 0);
        if chunk.is_some_and(|chunk| place + 1 < chunk.entries.len()) {
            index.saturating_add(1)
        } else {
            number.saturating_add(1).saturating_mul(CHUNK as u32)
        }
    }

    /// What each entry is about, in no particular order.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        let entries = self.chunks.iter_mut().flat_map(|chunk| &mut chunk.entries);
        entries.filter(|entry| !entry.is_free()).map(|entry| &mut entry.about)
    }
}

/// The number of a chunk, and the place in it.
fn split(index: u32) -> (u32, usize) {
    (index / CHUNK as u32, index as usize % CHUNK)
}

#[cfg(test)]
impl<T> Entries<T> {
    /// Whose next entry is told apart by the number after this one.
    pub fn set_generation(&mut self, generation: u32) {
        self.generation = generation;
    }

    /// For how many entries there is room.
    pub fn capacity(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.entries.capacity()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[test]
    fn an_entry_costs_8_bytes_beside_what_it_is_about() {
        assert_eq!(size_of::<Entry<[u64; 3]>>(), 8 + size_of::<[u64; 3]>());
    }

    #[test]
    fn no_id_names_a_free_entry() {
        let mut entries = Entries { generation: u32::MAX - 1, ..Entries::new() };
        // The last generation before it begins anew, and the first after.
        for name in [1, 2] {
            let id = entries.insert(name, 0).unwrap();
            assert_eq!(entries.get_mut(id).map(|entry| entry.about), Some(name));
            assert_eq!(entries.remove(id), Some((name, 0)));
            assert!(entries.get_mut(id).is_none());
            assert_eq!((entries.remove(id), entries.remove(EntryId::NONE)), (None, None));
        }
    }

    #[test]
    fn a_chunk_that_becomes_empty_gives_its_memory_back() {
        let mut entries = Entries::new();
        let all: Vec<EntryId> = (1..=5 * CHUNK).map(|name| entries.insert(name, 0).unwrap()).collect();
        for kept in [4, 2, 0] {
            for id in all.iter().skip(kept * CHUNK) {
                entries.remove(*id);
            }
            assert_eq!(entries.capacity(), (kept + 1) * CHUNK, "with one chunk for the next entries");
        }
    }

    #[test]
    fn an_entry_that_comes_and_goes_in_an_empty_chunk_costs_no_allocation() {
        let mut entries = Entries::new();
        let all: Vec<EntryId> = (1..=3 * CHUNK).map(|name| entries.insert(name, 0).unwrap()).collect();
        for id in all.iter().skip(CHUNK) {
            entries.remove(*id);
        }
        let mut rooms = (0..4).map(|name| {
            let id = entries.insert(name, 0).unwrap();
            let room = entries.capacity();
            assert_eq!(entries.remove(id), Some((name, 0)));
            (room, entries.capacity())
        });
        let first = rooms.next();
        assert_eq!(first, Some((2 * CHUNK, 2 * CHUNK)));
        assert!(rooms.all(|room| Some(room) == first));
    }

    #[derive(Clone, Debug)]
    enum Step {
        Insert,
        Remove(prop::sample::Index),
        RemoveAll,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            60 => Just(Step::Insert),
            50 => any::<prop::sample::Index>().prop_map(Step::Remove),
            1 => Just(Step::RemoveAll),
        ]
    }

    proptest! {
        #[test]
        fn it_is_a_map(steps in prop::collection::vec(step(), 1..300)) {
            let mut entries = Entries::new();
            let mut model: BTreeMap<u64, u64> = BTreeMap::new();
            let mut given: Vec<(u64, EntryId)> = Vec::new();
            for (name, step) in (1u64..).zip(steps) {
                match step {
                    Step::Insert => {
                        given.push((name, entries.insert(name, 5).unwrap()));
                        model.insert(name, name);
                    }
                    Step::Remove(which) => {
                        if !given.is_empty() {
                            let (name, id) = given[which.index(given.len())];
                            prop_assert_eq!(entries.remove(id), model.remove(&name).map(|_| (name, 5)));
                        }
                    }
                    Step::RemoveAll => {
                        for (name, id) in &given {
                            prop_assert_eq!(entries.remove(*id), model.remove(name).map(|_| (*name, 5)));
                        }
                        entries.trim();
                        prop_assert!(entries.capacity() <= CHUNK);
                    }
                }
                for (name, id) in &given {
                    prop_assert_eq!(entries.get_mut(*id).map(|entry| entry.about), model.get(name).copied());
                    prop_assert_eq!(entries.used(id.index()).is_some_and(|(there, _)| there == *id), model.contains_key(name));
                }
                let mut names: Vec<u64> = entries.iter_mut().map(|name| *name).collect();
                names.sort_unstable();
                prop_assert!(names.iter().eq(model.keys()));
            }
        }
    }
}
