//! What a node of a cluster keeps: which queues and slots it asks the server about, and which slots left.

use super::departures::Departures;
use super::names::KeyId;
use super::settled_slots::SettledSlots;
use crate::lock::Steady;

/// What a node of a cluster keeps. Outside a cluster all of it is empty.
#[derive(Debug, Default)]
pub struct Cluster {
    /// The queues that the server is asked about.
    pub queue_check: QueueCheck,
    /// The slots that the fence clock has leapt for; `None` outside a cluster.
    pub settled_slots: Option<Box<SettledSlots>>,
    /// The slots that left, as long as the engine's tables still know locks in them.
    pub departures: Departures,
}

/// Which queues the server is still to be asked about, and when it is asked about all.
#[derive(Debug, Default)]
pub struct QueueCheck {
    /// When all queues are due; `None`: at once.
    pub due: Option<Steady>,
    /// The locks whose queues are left to be asked about.
    pub left: Vec<KeyId>,
}

impl Cluster {
    /// Whether this server is part of a cluster.
    pub fn is_joined(&self) -> bool {
        self.settled_slots.is_some()
    }
}
