//! What events leave for the next turn.
//!
//! Redis reports a vanished key, a lost client, a loaded value in the middle of something else: a command, a transaction,
//! a script, a pause. Writing there replicates in the wrong order or aborts the server. So events only put a note here
//! and ask for a turn of the timer, which is the sole writer outside commands.

use super::deadlines::Slot;
use super::server::KeyId;
use crate::lock::Fence;

/// Notes for the next turn.
#[derive(Debug, Default)]
pub struct Inbox {
    /// Keys a lock's value was taken out of while somebody waited there, or while the engine was busy; with its deadline.
    pub unlinked: Vec<(KeyId, Slot)>,
    /// Keys to look at: something put a value there.
    pub changed: Vec<KeyId>,
    /// Grants whose answer found nobody.
    pub undelivered: Vec<(KeyId, Fence)>,
    /// Whether replicas and AOF should be told how far the fence clock has come.
    pub announce_fence: bool,
}

impl Inbox {
    /// Empty.
    pub const fn new() -> Inbox {
        Inbox { unlinked: Vec::new(), changed: Vec::new(), undelivered: Vec::new(), announce_fence: false }
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.unlinked.is_empty() && self.changed.is_empty() && self.undelivered.is_empty() && !self.announce_fence
    }
}
