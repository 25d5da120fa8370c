//! How many locks somebody else removed: operators, by DEL, FLUSHALL, SET over it or a TTL set by hand; the server itself, by
//! eviction. A primary counts; what its replicas remove they remove after it.
//!
//! A value that leaves its key says so itself (`value`), but not why. What the server tells afterwards puts the number right:
//! the key was evicted, or renamed, or the data set is loaded again. Kept outside the engine, which may be busy with the very
//! key whose TTL has run out.

use std::cell::{Cell, RefCell};

use super::state::MainThread;
use super::{api, role};
use crate::engine::{KeyId, KeyRef};
use crate::lock::{Millis, Steady};

static BY_OPERATORS: MainThread<Cell<u64>> = MainThread::new(Cell::new(0));
static BY_EVICTION: MainThread<Cell<u64>> = MainThread::new(Cell::new(0));
/// The last key that a lock's value left, and when.
static LAST: MainThread<RefCell<Option<(KeyId, Steady)>>> = MainThread::new(RefCell::new(None));
/// How many locks were removed when the data set was flushed just now, perhaps to be loaded again.
static FLUSHED: MainThread<Cell<u64>> = MainThread::new(Cell::new(0));

/// An eviction is told at once after the value left, but the process may be stopped in between. What comes later is about
/// another value of that name: one that was SET over the lock and is evicted itself.
const EVICTED_WITHIN: Millis = Millis(100);

/// How many locks operators removed since the start.
pub fn by_operators() -> u64 {
    BY_OPERATORS.get().get()
}

/// How many locks were evicted since the start.
pub fn by_eviction() -> u64 {
    BY_EVICTION.get().get()
}

/// A lock's value left its key.
pub fn value_left(at: KeyRef) {
    if !role::is_replica() {
        add(1);
        LAST.get().replace(Some((at.to_id(), api::now().steady)));
    }
}

/// A key was evicted. If that was the lock whose value left just now, it was no operator's doing.
pub fn evicted(at: KeyRef) {
    let is_lock = |(key, when): (KeyId, Steady)| key.borrow() == at && api::now().steady < when + EVICTED_WITHIN;
    if LAST.get().take().is_some_and(is_lock) {
        take_back(1);
        BY_EVICTION.get().set(by_eviction().saturating_add(1));
    }
}

/// Something else happened to a key: what left before was not evicted.
pub fn forget_last() {
    LAST.get().take();
}

/// A lock that had left its key came to another.
pub fn moved() {
    if !role::is_replica() {
        take_back(1);
    }
}

/// So many locks went with all others. `comes_back`: to be loaded again.
pub fn flushed(locks: u64, comes_back: bool) {
    let removed = if comes_back || role::is_replica() { 0 } else { locks };
    add(removed);
    FLUSHED.get().set(removed);
}

/// The data set is loaded again.
pub fn loads() {
    take_back(FLUSHED.get().take());
}

/// Time has passed, or the role changed: what was flushed before is not what is loaded next.
pub fn forget_flush() {
    FLUSHED.get().set(0);
}

fn add(locks: u64) {
    BY_OPERATORS.get().set(by_operators().saturating_add(locks));
}

fn take_back(locks: u64) {
    BY_OPERATORS.get().set(by_operators().saturating_sub(locks));
}
