//! Locks that move from one key to another.
//!
//! If something else than the module takes a lock's value out of its key, only keyspace events tell where it went. RENAME
//! and MOVE send them after they took the value out. So the module subscribes to them when the first value leaves its key.
//!
//! It does not subscribe at the start because Redis makes a client for each event of each subscriber. That is some 800
//! instructions for every DEL and every EXPIRE of every client. A server on which locks are only released does not pay
//! them.
//!
//! On servers where a subscription would harm other clients the module does not subscribe (`ffi/compat.rs`). A lock that was
//! renamed or moved still ends on time there for all who ask for it, but its key stays until then.

use super::ffi::compat::KeyEvents;
use super::ffi::events::{subscribe_to_key_events, OnKeyEvent};
use super::ffi::Ctx;
use super::key::read_key;
use super::state::{self, module};
use super::{removals, timer};
use crate::engine::{KeyRef, Stored};

/// A lock's value left its key. `was_known`: the lock had not left with its slot before.
pub fn value_left(at: KeyRef, was_known: bool) {
    removals::value_left(at, was_known);
    module().value_left.set(true);
    if !module().is_listening_to_keys.replace(true) {
        match module().capabilities.get().key_events() {
            KeyEvents::Harmless => subscribe_to_key_events::<Moves>(Ctx::detached()),
            KeyEvents::Harmful => {}
        }
    }
}

/// Notices keys that got a value by RENAME or MOVE. If a value leaves its key or is loaded, the callbacks of its type
/// notice it (`value.rs`).
struct Moves;

impl OnKeyEvent for Moves {
    fn happened(event: &[u8], db: i32, name: &[u8]) {
        if event == b"rename_to" && module().value_left.take() {
            value_came(KeyRef { db, name });
        } else if event == b"move_to" && module().value_left.take() {
            // Valkey 9 tells the wrong database if MOVE runs in a transaction, so all databases are looked at.
            (0..).take_while(|db| Ctx::detached().select_db(*db)).for_each(|db| value_came(KeyRef { db, name }));
        }
        if event == b"evicted" {
            removals::key_evicted(KeyRef { db, name });
        } else {
            module().removals.borrow_mut().forget_last();
        }
    }
}

/// A value came to this key from another one. If it is a lock, it was counted as removed when it left, and was not.
fn value_came(at: KeyRef) {
    state::note_changed(at.to_id());
    timer::kick();
    let has_moved = |stored: &Stored| state::with_engine(|engine| engine.moved_here(at, stored)) == Some(true);
    let moved = read_key(Ctx::detached(), at, |read| read.stored().is_some_and(has_moved));
    if moved == Some(true) {
        removals::lock_moved(at);
    }
}
