//! Sets of cluster slots, and the slots that a node reports of itself in CLUSTER NODES.
//!
//! The line about the node itself looks like this:
//!
//! ```text
//! <id> <address> myself,master - <ping> <pong> <epoch> <link> 0-5460 7000 [93-<-<id>] [77->-<id>]
//! ```
//! Words in brackets are slots that are being moved. `-<-` marks a slot that is imported, which the node does not own
//! yet. `->-` marks a slot that is migrated away, which the line lists among the others as well. Keys of such a slot
//! that are not here any more are served by the other node already.

use super::key_slot::SLOTS;

/// The number of words before the epoch in a line of CLUSTER NODES.
const WORDS_BEFORE_EPOCH: usize = 6;
/// The number of words before the slots in a line of CLUSTER NODES.
const WORDS_BEFORE_SLOTS: usize = 8;
/// The number of machine words of a [`SlotSet`].
const SET_WORDS: usize = SLOTS as usize / u64::BITS as usize;

/// What a node reports of itself in CLUSTER NODES.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnSlots {
    /// The slots that it serves, without those that are being migrated away.
    pub slots: SlotSet,
    /// Its configuration epoch. It rises when the node is promoted, or when a slot is assigned to it that another node
    /// had.
    pub epoch: u64,
}

impl OwnSlots {
    /// Reads the reply of CLUSTER NODES. `None` if the reply has no line about the node itself, or if that line is
    /// malformed.
    pub fn read(nodes: &[u8]) -> Option<OwnSlots> {
        let text = std::str::from_utf8(nodes).ok()?;
        let is_own = |line: &&str| line.split(' ').nth(2).is_some_and(|flags| flags.split(',').any(|f| f == "myself"));
        let own = text.lines().find(is_own)?;
        let epoch = own.split(' ').nth(WORDS_BEFORE_EPOCH)?.parse().ok()?;
        let (moving, ranges): (Vec<&str>, Vec<&str>) = own
            .split(' ')
            .skip(WORDS_BEFORE_SLOTS)
            .filter(|word| !word.is_empty())
            .partition(|word| word.starts_with('['));
        let mut slots = SlotSet::new();
        for range in ranges {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            slots.insert_range(slot(first)?, slot(last)?);
        }
        for word in moving {
            let (number, _) = word.strip_prefix('[')?.split_once('-')?;
            slots.remove(slot(number)?);
        }
        Some(OwnSlots { slots, epoch })
    }
}

/// A set of slots. It takes 2 KiB, whatever is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotSet(Box<[u64; SET_WORDS]>);

impl SlotSet {
    /// The empty set.
    pub fn new() -> SlotSet {
        SlotSet(Box::new([0; SET_WORDS]))
    }

    /// Whether the set contains this slot.
    pub fn contains(&self, slot: u16) -> bool {
        self.0.get(word(slot)).is_some_and(|word| word & bit(slot) != 0)
    }

    /// Adds a slot. A number that is not below [`SLOTS`] is ignored.
    pub fn insert(&mut self, slot: u16) {
        if let Some(word) = self.0.get_mut(word(slot)) {
            *word |= bit(slot);
        }
    }

    /// Removes a slot.
    fn remove(&mut self, slot: u16) {
        if let Some(word) = self.0.get_mut(word(slot)) {
            *word &= !bit(slot);
        }
    }

    /// Whether every slot of this set is in `of` too.
    pub fn is_subset(&self, of: &SlotSet) -> bool {
        self.0.iter().zip(of.0.iter()).all(|(word, other)| word & !other == 0)
    }

    /// Adds all slots of another set.
    pub fn insert_all(&mut self, others: &SlotSet) {
        self.0.iter_mut().zip(others.0.iter()).for_each(|(word, other)| *word |= other);
    }

    /// Removes all slots of another set.
    pub fn remove_all(&mut self, others: &SlotSet) {
        self.0.iter_mut().zip(others.0.iter()).for_each(|(word, other)| *word &= !other);
    }

    /// Adds the slots from `first` to `last`, both included.
    pub fn insert_range(&mut self, first: u16, last: u16) {
        (first..=last).for_each(|slot| self.insert(slot));
    }
}

/// Reads the number of a slot. `None` if it is not a number below [`SLOTS`].
fn slot(number: &str) -> Option<u16> {
    number.parse().ok().filter(|slot| *slot < SLOTS)
}

/// The index of the machine word that has this slot's bit.
fn word(slot: u16) -> usize {
    usize::from(slot / 64)
}

/// This slot's bit within its machine word.
fn bit(slot: u16) -> u64 {
    1 << (slot % 64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The set of all slots in these ranges.
    fn set(ranges: &[(u16, u16)]) -> SlotSet {
        let mut slots = SlotSet::new();
        ranges.iter().for_each(|(first, last)| slots.insert_range(*first, *last));
        slots
    }

    #[test]
    fn own_slots_are_read_from_cluster_nodes() {
        let nodes = "07c37df 127.0.0.1:30004@31004,h slave e7d1eec 0 1426238317239 4 connected\n\
                     e7d1eec 127.0.0.1:30001@31001 myself,master - 0 0 9 connected 0-5460 7000 [9300-<-292f8b3] [77->-e7d1]\n\
                     292f8b3 127.0.0.1:30003@31003 master - 0 1426238318243 3 connected 10923-16383\n";
        let own = OwnSlots { slots: set(&[(0, 76), (78, 5460), (7000, 7000)]), epoch: 9 };
        assert_eq!(OwnSlots::read(nodes.as_bytes()), Some(own));
        let none = "e7d1eec 127.0.0.1:30001@31001 myself,slave 07c37df 0 0 1 connected\n";
        assert_eq!(OwnSlots::read(none.as_bytes()), Some(OwnSlots { slots: SlotSet::new(), epoch: 1 }));
    }

    #[test]
    fn replies_without_a_valid_line_about_the_node_itself_are_refused() {
        for reply in ["", "ERR no", "a b master - 0 0 1 connected 0-5", "a b myself - 0 0 1 connected 5-x", "\u{0}\n"] {
            assert_eq!(OwnSlots::read(reply.as_bytes()), None, "{reply:?}");
        }
        assert_eq!(OwnSlots::read(b"a b myself,master - 0 0 1 connected 0-16384"), None);
        assert_eq!(OwnSlots::read(b"\xff"), None);
    }

    #[test]
    fn sets_are_added_and_removed() {
        let mut slots = set(&[(0, 100)]);
        slots.insert_all(&set(&[(90, 110)]));
        assert_eq!(slots, set(&[(0, 110)]));
        slots.remove_all(&set(&[(5, 200)]));
        assert_eq!(slots, set(&[(0, 4)]));
    }

    proptest! {
        #[test]
        fn any_reply_is_read_or_refused_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = OwnSlots::read(&bytes);
        }
    }
}
