//! The one path that every command, timer and event takes.
//!
//! A step opens a key, lets the rules ([`crate::lock`]) decide, and does what they decided in this order: the key's value,
//! replication, deadlines, then the answers. Commands take their step at once. Everything else leaves a note in the
//! [`Inbox`] and takes its step in [`Engine::tick`], which the edge's one timer calls.
//!
//! # What it owns
//! * the server's fence clock, settings and counters;
//! * the wait table: the queues of waiters and the clients in them;
//! * two heaps of deadlines: when leases end (one entry a lock) and when waits run out (one a waiter);
//! * the holds that end with a connection;
//! * the agenda: what is still to be done.
//!
//! But for the counters all of it can be rebuilt from the data set; the key's value is the only truth about who holds.
//!
//! # What it must never do
//! Write, grant or remove anything outside a command while [`Server::state`] is not [`ServerState::Writable`]; answer a
//! waiter before the change behind the answer is recorded.

mod agenda;
mod chunks;
mod cluster;
mod commands;
mod deadlines;
mod deadlock;
mod departures;
mod entries;
mod events;
mod external;
mod inbox;
mod names;
mod queue_check;
mod record;
mod relocated;
mod report;
mod server;
mod sessions;
mod settings;
mod settled_slots;
mod slot_check;
mod state;
mod stats;
mod step;
mod tick;
mod wait_table;

#[cfg(any(test, fuzzing))]
pub mod tests;

pub use commands::Outcome;
pub use departures::Leaving;
pub use entries::EntryId;
pub use events::Events;
pub use external::Unlinked;
pub use inbox::Inbox;
pub use names::{KeyId, KeyRef, Scope};
pub use report::{check, Report};
pub use server::{
    Found, Key, KeyEvent, Keyspace, Reply, Server, ServerState, SlotOwner, Stored, Waiting, WriteCheck, WrongType,
};
pub use settings::SETTINGS;
pub use state::Engine;
