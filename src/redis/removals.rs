//! How many locks somebody else removed: operators, by DEL, FLUSHALL, SET over it or a TTL set by hand; the server itself, by
//! eviction. A primary counts; what its replicas remove they remove after it.
//!
//! A value that leaves its key says so itself (`value`), but not why. What the server tells afterwards puts the number right:
//! the key was evicted, or renamed, or the data set is loaded again. Kept outside the engine, which may be busy with the very
//! key whose TTL has run out.
//!
//! In a cluster a lock also leaves when its slot moves to another server, and nothing tells that from DEL at that moment. So
//! removals are counted there in the timer's tick, which asks where the key is at home now.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::mem;

use super::api::{self, Ctx};
use super::state::MainThread;
use super::{migration, role, timer};
use crate::engine::{KeyId, KeyRef, Server, SlotOwner};
use crate::lock::{Millis, Steady};
use crate::wire::key_slot;

static BY_OPERATORS: MainThread<Cell<u64>> = MainThread::new(Cell::new(0));
static BY_EVICTION: MainThread<Cell<u64>> = MainThread::new(Cell::new(0));
/// The last key that a lock's value left, and when.
static LAST: MainThread<RefCell<Option<(KeyId, Steady)>>> = MainThread::new(RefCell::new(None));
/// How many locks were removed when the data set was flushed just now, perhaps to be loaded again.
static FLUSHED: MainThread<Cell<u64>> = MainThread::new(Cell::new(0));

/// Locks that left their keys in one slot since the timer's last tick.
struct Unexplained {
    /// The last key.
    key: KeyId,
    /// How many.
    locks: u64,
    /// How many of them were this server's until then: not coming in with their slot, and not gone with it before.
    own: u64,
}

/// In a cluster: those of all slots.
static UNEXPLAINED: MainThread<RefCell<BTreeMap<u16, Unexplained>>> = MainThread::new(RefCell::new(BTreeMap::new()));

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

/// A lock's value left its key. `was_known`: the lock had not left with its slot before.
pub fn value_left(at: KeyRef, was_known: bool) {
    let flags = Ctx::detached().flags();
    // What is done to locks again while the AOF is loaded was counted when it was done.
    if role::is_replica() || flags.is_loading() {
        return;
    }
    LAST.get().replace(Some((at.to_id(), api::now().steady)));
    if !flags.is_cluster() {
        return add(1);
    }
    let slot = key_slot(at.name);
    let own = u64::from(was_known && !migration::is_coming(slot));
    let mut unexplained = UNEXPLAINED.get().borrow_mut();
    let of_slot = unexplained.entry(slot).or_insert_with(|| Unexplained { key: KeyId::default(), locks: 0, own: 0 });
    of_slot.key = at.to_id();
    of_slot.locks += 1;
    of_slot.own += own;
    timer::kick();
}

/// Finds out what became of the locks that left their keys since the last turn. Returns how many moved to other servers.
pub fn explain(server: &mut impl Server) -> u64 {
    let mut moved = 0;
    for of_slot in mem::take(&mut *UNEXPLAINED.get().borrow_mut()).into_values() {
        match server.slot_owner(of_slot.key.borrow()) {
            SlotOwner::Elsewhere => moved += of_slot.own,
            SlotOwner::Here | SlotOwner::Down => add(of_slot.locks),
        }
    }
    moved
}

/// A key was evicted. If that was the lock whose value left just now, it was no operator's doing.
pub fn evicted(at: KeyRef) {
    let is_lock = |(key, when): (KeyId, Steady)| key.borrow() == at && api::now().steady < when + EVICTED_WITHIN;
    if LAST.get().take().is_some_and(is_lock) {
        not_removed(at);
        BY_EVICTION.get().set(by_eviction().saturating_add(1));
    }
}

/// Something else happened to a key: what left before was not evicted.
pub fn forget_last() {
    LAST.get().take();
}

/// A lock that had left its key came to this one. In a cluster both are in one slot.
pub fn moved(at: KeyRef) {
    if !role::is_replica() {
        not_removed(at);
    }
}

/// A value that left its key just now was not removed by an operator.
fn not_removed(at: KeyRef) {
    match UNEXPLAINED.get().borrow_mut().get_mut(&key_slot(at.name)) {
        Some(of_slot) if of_slot.locks > 0 => {
            of_slot.locks -= 1;
            of_slot.own = of_slot.own.saturating_sub(1);
        }
        Some(_) | None => take_back(1),
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
