//! The engine: the one path that every command, timer and event takes.
//!
//! A step opens a key, lets the rules ([`crate::lock`]) decide, and does what they decided in this order: the key's value,
//! replication, deadlines, then the answers. Commands take their step at once. Everything else leaves a note in the
//! [`Inbox`] and takes its step in [`Engine::tick`], which the server's one timer calls.
//!
//! # What it owns
//! * the server's fence clock, settings and counters;
//! * the wait table: the queues of waiters and the clients in them;
//! * two heaps of deadlines: when leases end (one entry a lock) and when waits run out (one a waiter);
//! * the holds that end with a connection;
//! * the agenda: what is still to be done.
//!
//! All of it but the counters can be rebuilt from the data set. Only the key's value tells who holds a lock.
//!
//! # What it must never do
//! Write, grant or remove anything outside a command while [`Server::state`] is not [`ServerState::Writable`].
//!
//! # Invariants
//! A key is *noted* if the [`Inbox`] or the agenda names it: something happened there, and a later step will see to it. These
//! invariants hold whenever no method of the engine runs. Tests check them after each call of the engine, and builds with
//! debug assertions check after each step what concerns its key.
//!
//! * **E1** A lock that is not noted has exactly one deadline, under its own name, at the end of its next lease. A free lock
//!   has no key. When nothing is noted, no other deadline exists. A deadline keeps its place in the table as long as its lock
//!   stays in its key, also while a step that it asked for is on the agenda. LOCK.LIST relies on that.
//! * **E2** Each request in a queue has one parked client, and each parked client has one request, in the queue of the lock that
//!   it waits for, or of each of several locks. (Between [`Engine::acquire`] and [`Engine::park`] the request with the last
//!   ticket has none yet.)
//! * **E3** A queue exists only while somebody waits in it or an answer is in flight.
//! * **E4** The contended locks are those that have a queue and holders. For a lock that is not noted, and that somebody waits
//!   for, they also name the exclusive holder that the key names. (A replica does not keep the latter.)
//! * **E5** Tickets rise, and no queue knows one that was not given out.
//! * **E6** Nothing that a step was lent is left: no holders without a key, no queue without a lock, no effect that was not
//!   carried out.
//! * **E7** From a connection the engine finds every hold that is bound to it. A hold of a lock that is not noted is never
//!   bound to a connection that has closed. When nothing is noted, the engine finds no other holds.
//! * **E8** An answer with a new grant is given after the grant was recorded.
//! * **E9** When nothing is noted and the server may write (and grant, see [`quarantine`]), no lease and no wait has ended
//!   unnoticed, and the first in each queue is one that cannot be let in, or waits for several locks that are not all ready.
//! * **E10** A client gets one answer or is abandoned, once.
//! * **E11** A request for several locks that a task must look at has exactly one such task.

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
#[cfg(debug_assertions)]
mod invariants;
mod listing;
mod multi_key;
mod names;
mod quarantine;
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
pub use listing::{ContendedLock, Listed, Page, Readable};
pub use multi_key::OutcomeOfAll;
pub use names::{KeyId, KeyRef, Scope};
pub use report::{check, HeldAs, Report, WaiterReport};
pub use server::{
    Found, Key, KeyEvent, KeySet, Keyspace, Reply, Server, ServerState, Stored, Waiting, WriteCheck, WrongType,
};
pub use settings::SETTINGS;
pub use state::Engine;
