//! The type of a lock's value, and the memory of values.

use std::mem::MaybeUninit;

use super::ffi::data_type::TypeHandle;
use super::ffi::main_thread::is_main_thread;
use super::state::module;
use crate::engine::Stored;

/// The type, once it is registered.
pub fn lock_type() -> TypeHandle<Stored> {
    module().lock_type.get()
}

/// Puts a lock into memory that the server can own. The lock that was freed last left its memory for it, which saves an
/// allocation for each lock that comes and goes.
pub fn boxed(stored: Stored) -> Box<Stored> {
    match module().spare.take() {
        Some(room) => Box::write(room, stored),
        None => Box::new(stored),
    }
}

/// Keeps the memory of a freed lock for the next one. On a background thread (FLUSHALL ASYNC) it is given back instead.
pub fn keep_memory(room: Box<MaybeUninit<Stored>>) {
    if is_main_thread() {
        module().spare.set(Some(room));
    }
}
