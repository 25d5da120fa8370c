//! LOCK.LIST and LOCK.TOP: the locks of one database.
//!
//! LOCK.LIST walks over the table of deadlines, in which every lock keeps its place (E1); its cursor is a place there. A lock
//! that has just come to its key by RENAME, RESTORE or loading has no place yet. So a walk begins when the deadlines of all
//! locks that events noted are in the table, however many calls that takes.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::inbox::Inbox;
use super::names::KeyRef;
use super::report::{cooling_ms, ms_between, ttl_ms, HeldAs, WaiterReport};
use super::server::{Server, Stored, Waiting};
use super::state::Engine;
use super::tick::locks_named;
use crate::lock::{Now, Steady, WaitQueue};
use crate::wire::{ListRequest, Order, TopRequest};

/// The number of noted keys that one call looks at.
const NOTES_MAX: usize = 256;
/// The number of waiters that LOCK.TOP names.
const QUEUE_SHOWN: usize = 3;

/// The keys of the selected database that the caller of a command may read.
pub trait Readable {
    /// Whether the caller may read the key of this name.
    fn may_read(&mut self, name: &[u8]) -> bool;
    /// Shows the lock at the key of this name, if there is one, and how many milliseconds are left of a TTL that somebody set
    /// by hand.
    fn with_lock(&mut self, name: &[u8], look: &mut dyn FnMut(&Stored, Option<u64>));
}

/// What LOCK.LIST reports of a lock. Lengths of time are in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The name of its key.
    pub key: Vec<u8>,
    /// How it is held; `None` if nobody holds it now, and it is not cooling.
    pub mode: Option<HeldAs>,
    /// The holder that is told of: the first one, or the one that was asked for. Empty if there is none.
    pub owner: Vec<u8>,
    /// The number of holders whose lease has not ended.
    pub holders_count: usize,
    /// The fence of the holder's hold.
    pub fence: u64,
    /// What is left of its lease or of cooling, or of the key's TTL if that ends first.
    pub ttl_ms: u64,
    /// The time since its grant.
    pub held_ms: u64,
    /// The number of clients that wait.
    pub waiters: usize,
}

/// How high a lock stands in LOCK.TOP: its rank, whether it is held, and its name. Of two of one rank one that is held stands
/// higher than a free one, and then the one whose name comes first.
type Standing<'a> = (u64, bool, Reverse<&'a [u8]>);

/// What one call of LOCK.LIST returns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The cursor of the next call; 0 at the end.
    pub next: u64,
    /// The locks that were found.
    pub locks: Vec<Listed>,
}

impl Page {
    /// What LOCK.LIST returns while locks that were noted have no place in the table yet: no locks, and a cursor that begins
    /// anew.
    pub fn not_yet() -> Page {
        Page { next: 1, locks: Vec::new() }
    }
}

/// What LOCK.TOP reports of a lock.
#[derive(Debug, PartialEq, Eq)]
pub struct ContendedLock {
    /// As in LOCK.LIST.
    pub lock: Listed,
    /// How long the first in the queue has waited, in milliseconds.
    pub waited_ms: u64,
    /// The first waiters.
    pub queue: Vec<WaiterReport>,
}

impl<W: Waiting> Engine<W> {
    /// LOCK.LIST in this database.
    pub fn list<R: Readable>(&self, db: i32, request: &ListRequest, now: Now, keys: &mut R) -> Page {
        let mut locks = Vec::new();
        let next = self.leases.walk(request.from, request.count, |key| {
            let KeyRef { db: there, name } = key.borrow();
            let is_asked_for = there == db && request.pattern.is_none_or(|pattern| pattern.matches(name));
            if is_asked_for && keys.may_read(name) {
                locks.extend(self.listed(key.borrow(), request, now, keys));
            }
        });
        Page { next: next.map_or(0, |place| u64::from(place) + 1), locks }
    }

    /// Puts the deadlines of some locks in place that events noted. True if all are in place. The notes stay for the tick.
    pub fn place_noted<S: Server>(&mut self, server: &mut S, inbox: &mut Inbox) -> bool {
        for _ in 0..NOTES_MAX {
            let Some(key) = inbox.next_to_place() else {
                let Some(name) = inbox.unplaced.pop() else { return true };
                inbox.changed.extend(locks_named(server, &name));
                continue;
            };
            let at = key.borrow();
            if let Some(mut open) = server.open(at) {
                self.index(at, &mut open);
            }
            inbox.placed();
        }
        inbox.next_to_place().is_none() && inbox.unplaced.is_empty()
    }

    fn listed<R: Readable>(&self, at: KeyRef, request: &ListRequest, now: Now, keys: &mut R) -> Option<Listed> {
        let mut found = None;
        keys.with_lock(at.name, &mut |stored, key_ttl_ms| {
            let holders = &stored.holders;
            if let (Some(ttl_ms), None) = (cooling_ms(holders, key_ttl_ms, now), request.owner) {
                found = Some(Listed { mode: Some(HeldAs::Cooling), ttl_ms, ..self.nobodys(at) });
                return;
            }
            let held = match request.owner {
                Some(owner) => holders.of(owner).map(|(_, mode, hold)| (mode, hold)),
                None => holders.iter().find(|(_, hold)| !hold.is_expired(now.steady)),
            };
            let Some((mode, hold)) = held.filter(|(_, hold)| !hold.is_expired(now.steady)) else { return };
            found = Some(Listed {
                key: at.name.to_vec(),
                mode: Some(mode.into()),
                owner: hold.owner.as_bytes().to_vec(),
                holders_count: holders.count_running(now.steady),
                fence: hold.fence.get(),
                ttl_ms: ttl_ms(hold, key_ttl_ms, now),
                held_ms: ms_between(hold.since, now.steady),
                waiters: self.waiters_for(at),
            });
        });
        found
    }

    /// What is reported of a lock that nobody holds.
    fn nobodys(&self, at: KeyRef) -> Listed {
        let waiters = self.waiters_for(at);
        let (key, owner) = (at.name.to_vec(), Vec::new());
        Listed { key, mode: None, owner, holders_count: 0, fence: 0, ttl_ms: 0, held_ms: 0, waiters }
    }

    /// LOCK.TOP in this database.
    pub fn top<R: Readable>(&self, db: i32, request: &TopRequest, now: Now, keys: &mut R) -> Vec<ContendedLock> {
        // The last of those found so far is on top.
        let mut best: BinaryHeap<Reverse<Standing>> = BinaryHeap::new();
        for (name, queue) in self.waits.queues_of(db) {
            let Some(rank) = rank(queue, request.order, now.steady) else { continue };
            let is_full = best.len() >= request.count;
            let is_beaten = |place: Standing| is_full && best.peek().is_some_and(|Reverse(least)| place <= *least);
            if is_beaten((rank, true, Reverse(name))) {
                continue;
            }
            // Those who wait for several locks may wait in the queue of a free one. The one that keeps them comes first.
            let place = (rank, self.waits.contended().is_held(KeyRef { db, name }), Reverse(name));
            if is_beaten(place) || !keys.may_read(name) {
                continue;
            }
            if is_full {
                best.pop();
            }
            best.push(Reverse(place));
        }
        let names = best.into_sorted_vec().into_iter().map(|Reverse((_, _, Reverse(name)))| name);
        names.filter_map(|name| self.contended(KeyRef { db, name }, now, keys)).collect()
    }

    fn contended<R: Readable>(&self, at: KeyRef, now: Now, keys: &mut R) -> Option<ContendedLock> {
        let queue = self.waits.queue(at)?;
        let (_, first) = queue.first()?;
        let any = ListRequest { from: 0, count: 1, pattern: None, owner: None };
        let lock = self.listed(at, &any, now, keys).unwrap_or_else(|| self.nobodys(at));
        let waited_ms = ms_between(first.since, now.steady);
        Some(ContendedLock { lock, waited_ms, queue: self.report_queue(queue, QUEUE_SHOWN, now) })
    }
}

/// How high a queue stands in LOCK.TOP; `None` if nobody waits.
fn rank(queue: &WaitQueue, order: Order, now: Steady) -> Option<u64> {
    let (_, first) = queue.first()?;
    Some(match order {
        Order::Waiters => queue.len() as u64,
        Order::Waited => u64::try_from(now.0.saturating_sub(first.since.0)).unwrap_or(0),
    })
}
