//! Locks that left their keys, and not because the module removed them. [`crate::policy::removals`] says who did.
//!
//! The counters are outside the engine, because it may be busy with the very key whose TTL has run out.

use super::ffi::{clock, Ctx};
use super::state::{self, module};
use super::{migration, timer};
use crate::engine::{KeyId, KeyRef, Server};
use crate::policy::removals::{counts, Place};
use crate::policy::role::Role;
use crate::wire::key_slot;

/// A lock's value left its key. `was_known`: the lock had not left with its slot before.
pub fn value_left(at: KeyRef, was_known: bool) {
    let flags = Ctx::detached().flags();
    if !counts(module().role.get(), state::data_set(flags)) {
        return;
    }
    let place = if flags.is_cluster() {
        let slot = key_slot(at.name);
        Place::Slot { slot, is_own: was_known && !migration::is_coming(slot) }
    } else {
        Place::Alone
    };
    if module().removals.borrow_mut().value_left(at.to_id(), clock::now().steady, place) {
        timer::kick();
    }
}

/// Finds out what became of the locks that left their keys since the last tick. Returns how many moved to other servers.
pub fn explain(server: &mut impl Server) -> u64 {
    let unexplained = module().removals.borrow_mut().take_unexplained();
    unexplained
        .map(|of_slot| {
            let owner = server.slot_owner(of_slot.key.borrow());
            module().removals.borrow_mut().explain(&of_slot, owner)
        })
        .sum()
}

/// A key was evicted.
pub fn key_evicted(at: KeyRef) {
    let is_key = |key: &KeyId| key.borrow() == at;
    module().removals.borrow_mut().evicted(is_key, key_slot(at.name), clock::now().steady);
}

/// A lock that had left its key came to this one.
pub fn lock_moved(at: KeyRef) {
    if module().role.get() == Role::Primary {
        module().removals.borrow_mut().not_removed(key_slot(at.name));
    }
}

/// The data set was flushed, and this many locks with it.
pub fn flushed(locks: u64) {
    // Valkey 9 empties a data set that is loaded again when the load has begun.
    let is_counted = counts(module().role.get(), state::data_set(Ctx::detached().flags()));
    module().removals.borrow_mut().flushed(if is_counted { locks } else { 0 });
}
