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
    /// Those of the timer's tick, with their keys.
    of_tick: Vec<(KeyId, KeyEvent)>,
}

impl EventLog {
    /// Adds an event of the lock that a command or a task works on.
    pub fn push(&mut self, event: KeyEvent) {
        self.current.push(event);
    }

    /// A task of the timer's tick is done with this key.
    pub fn file_under(&mut self, key: &KeyId) {
        self.of_tick.extend(self.current.drain(..).map(|event| (key.clone(), event)));
    }

    /// Takes the events of a command.
    pub fn take_of_command(&mut self) -> Events {
        mem::take(&mut self.current)
    }

    /// Takes the events of the timer's tick.
    pub fn take_of_tick(&mut self) -> Vec<(KeyId, KeyEvent)> {
        mem::take(&mut self.of_tick)
    }
}
