//! Keyspace events that are still to be published.
//!
//! An event is published once its key is closed and the engine is at rest, so a step only writes it down.

use std::mem;

use smallvec::SmallVec;

use super::names::KeyId;
use super::server::KeyEvent;

/// The events of one lock, in the order in which they happened.
pub type Events = SmallVec<[KeyEvent; 8]>;

/// The events of the steps since they were taken last.
#[derive(Debug, Default)]
pub struct EventLog {
    /// Those of the lock that a command or a task works on.
    current: Events,
    /// Those of the timer's tick, or of a command with several keys, with their keys.
    filed: Vec<(KeyId, KeyEvent)>,
}

impl EventLog {
    /// Adds an event of the lock that a command or a task works on.
    pub fn push(&mut self, event: KeyEvent) {
        self.current.push(event);
    }

    /// Whether there are events of a lock that are neither filed nor taken.
    pub fn has_current(&self) -> bool {
        !self.current.is_empty()
    }

    /// A task of the timer's tick, or a command with several keys, is done with this key.
    pub fn file_under(&mut self, key: &KeyId) {
        self.filed.extend(self.current.drain(..).map(|event| (key.clone(), event)));
    }

    /// Takes the events of a command.
    pub fn take_of_command(&mut self) -> Events {
        mem::take(&mut self.current)
    }

    /// Takes the events with their keys.
    pub fn take_filed(&mut self) -> Vec<(KeyId, KeyEvent)> {
        mem::take(&mut self.filed)
    }
}
