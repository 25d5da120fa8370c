//! The slots of a Redis Cluster, and which node has which.

use std::collections::HashMap;
use std::ops::RangeInclusive;

use redis::Value;

use super::address::Address;

/// The number of slots of a Redis Cluster.
const SLOTS: u16 = 16384;

/// A range of slots and the nodes that have it, the primary first.
#[derive(Clone, Debug)]
pub(crate) struct SlotRange {
    pub slots: RangeInclusive<u16>,
    pub nodes: Vec<Address>,
}

/// Which node has which slot, as far as this client knows.
#[derive(Debug, Default)]
pub(crate) struct SlotMap {
    ranges: Vec<SlotRange>,
    /// Slots of which a node has said since that they have moved.
    moved: HashMap<u16, Address>,
}

impl SlotMap {
    /// The map that a node has sent.
    pub fn new(ranges: Vec<SlotRange>) -> SlotMap {
        SlotMap { ranges, moved: HashMap::new() }
    }

    /// The primary of this slot.
    pub fn primary(&self, slot: u16) -> Option<Address> {
        let known = || self.ranges.iter().find(|range| range.slots.contains(&slot))?.nodes.first();
        self.moved.get(&slot).or_else(known).cloned()
    }

    /// Every primary.
    pub fn primaries(&self) -> Vec<Address> {
        let mut primaries: Vec<Address> =
            self.ranges.iter().filter_map(|range| range.nodes.first()).chain(self.moved.values()).cloned().collect();
        primaries.sort();
        primaries.dedup();
        primaries
    }

    /// Every node, replicas included.
    pub fn nodes(&self) -> Vec<Address> {
        let mut nodes: Vec<Address> = self.ranges.iter().flat_map(|range| range.nodes.iter()).cloned().collect();
        nodes.sort();
        nodes.dedup();
        nodes
    }

    /// Remembers that the node at this address has the slot now.
    pub fn record_move(&mut self, slot: u16, address: Address) {
        self.moved.insert(slot, address);
    }
}

/// The slot of a key.
pub(crate) fn slot_of(key: &[u8]) -> u16 {
    crc16::State::<crc16::XMODEM>::calculate(hashed_part(key)) % SLOTS
}

/// The part of a key that decides its slot: the text in its first pair of braces, or the whole key if that is empty.
fn hashed_part(key: &[u8]) -> &[u8] {
    let tag = || {
        let open = key.iter().position(|byte| *byte == b'{')? + 1;
        let rest = key.get(open..)?;
        let close = rest.iter().position(|byte| *byte == b'}')?;
        rest.get(..close).filter(|tag| !tag.is_empty())
    };
    tag().unwrap_or(key)
}

/// Reads the reply to CLUSTER SLOTS. A node that does not know its own host name sends none, and then has the host that
/// was asked.
pub(crate) fn parse_slot_ranges(reply: Value, asked_host: &str) -> Vec<SlotRange> {
    let Value::Array(ranges) = reply else { return Vec::new() };
    let ranges = ranges.into_iter().filter_map(|range| match range {
        Value::Array(parts) => parse_slot_range(parts, asked_host),
        _ => None,
    });
    ranges.filter(|range| !range.nodes.is_empty()).collect()
}

/// Reads one range: first slot, last slot, primary, replicas.
fn parse_slot_range(range: Vec<Value>, asked_host: &str) -> Option<SlotRange> {
    let mut parts = range.into_iter();
    let mut slot = || redis::from_redis_value::<u16>(parts.next()?).ok();
    let slots = slot()?..=slot()?;
    let nodes = parts.filter_map(|node| {
        let Value::Array(node) = node else { return None };
        let start = Value::Array(node.into_iter().take(2).collect());
        let (host, port) = redis::from_redis_value::<(Option<String>, u16)>(start).ok()?;
        Some((host.filter(|host| !host.is_empty()).unwrap_or_else(|| asked_host.to_owned()), port))
    });
    Some(SlotRange { slots, nodes: nodes.collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_with_the_same_hash_tag_have_the_same_slot() {
        for (key, part) in [("k", "k"), ("{a}b", "a"), ("x{a}{b}", "a"), ("{}a", "{}a"), ("{a", "{a"), ("a}{b}", "b")] {
            assert_eq!(hashed_part(key.as_bytes()), part.as_bytes(), "{key}");
        }
        assert_eq!(slot_of(b"{a}1"), slot_of(b"{a}2"));
    }

    #[test]
    fn node_that_sends_no_host_has_the_host_that_was_asked() {
        let text = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let node = |host, port| Value::Array(vec![host, Value::Int(port), text("id")]);
        let entry = vec![Value::Int(0), Value::Int(5), node(Value::Nil, 1), node(text(""), 2), node(text("there"), 3)];
        let ranges = parse_slot_ranges(Value::Array(vec![Value::Array(entry)]), "here");
        assert_eq!(ranges[0].slots, 0..=5);
        assert_eq!(ranges[0].nodes, [("here".into(), 1), ("here".into(), 2), ("there".into(), 3)]);
        let mut map = SlotMap::new(ranges);
        assert_eq!((map.primary(5), map.primary(6)), (Some(("here".into(), 1)), None));
        map.record_move(6, ("far".into(), 4));
        assert_eq!(map.primary(6), Some(("far".into(), 4)));
        assert_eq!(map.primaries(), [("far".into(), 4), ("here".into(), 1)]);
    }
}
