//! Locking a mutex of the standard library.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks the mutex even if a thread panicked while it held it. The data of this crate's mutexes is whole between
/// statements.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
