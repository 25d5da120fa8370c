//! Which server a slot of a cluster belongs to.

/// The owner of a key's slot, as far as this server knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotOwner {
    /// This server. Outside a cluster it owns every key.
    Here,
    /// Another server; or the slot is leaving, and the key has left.
    Elsewhere,
    /// No server: the cluster is down.
    Down,
}
