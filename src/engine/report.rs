//! What LOCK.CHECK and LOCK.INFO report of a lock.

use super::names::KeyRef;
use super::server::Waiting;
use super::state::Engine;
use crate::lock::{Hold, Holders, Mode, Now, OwnerRef, Steady, WaitQueue};

/// The number of holders that LOCK.INFO names.
const HOLDERS_SHOWN: usize = 100;
/// The number of waiters that LOCK.INFO names.
const QUEUE_SHOWN: usize = 10;

/// How a lock is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeldAs {
    /// One owner holds it alone.
    Exclusive,
    /// Several owners may hold it together.
    Shared,
    /// Nobody holds it, and nobody is granted it yet.
    Cooling,
    /// Nobody holds it. Clients wait all the same: the first for several locks, or the server grants nothing yet.
    Free,
}

impl From<Mode> for HeldAs {
    fn from(mode: Mode) -> HeldAs {
        match mode {
            Mode::Exclusive => HeldAs::Exclusive,
            Mode::Shared(_) => HeldAs::Shared,
        }
    }
}

/// What LOCK.INFO reports of a lock that is held, cooling or waited for.
#[derive(Debug, PartialEq, Eq)]
pub struct Report<'a> {
    /// How it is held.
    pub mode: HeldAs,
    /// The milliseconds of cooling that are left, or 0.
    pub cooling_ms: u64,
    /// The number of holders whose lease has not ended.
    pub holders_count: usize,
    /// The first holders, in the order of their fences.
    pub holders: Vec<HolderReport<'a>>,
    /// The number of waiters.
    pub waiters: usize,
    /// The first waiters of the queue.
    pub queue: Vec<WaiterReport>,
}

/// What LOCK.INFO reports of a holder. Lengths of time are in milliseconds.
#[derive(Debug, PartialEq, Eq)]
pub struct HolderReport<'a> {
    /// The owner of the hold.
    pub owner: &'a [u8],
    /// The fence of the hold.
    pub fence: u64,
    /// What is left of the lease, or of the key's TTL if that ends first.
    pub ttl_ms: u64,
    /// The time since the grant.
    pub held_ms: u64,
    /// The LIMIT of the hold, or 0.
    pub limit: u64,
    /// The units of the LIMIT that the hold takes.
    pub weight: u64,
    /// What is left until MAX ends the hold, or 0 if it has no MAX.
    pub max_ms: u64,
    /// The id of the client that the hold is bound to, or 0.
    pub session: u64,
}

/// What LOCK.INFO reports of a waiter.
#[derive(Debug, PartialEq, Eq)]
pub struct WaiterReport {
    /// The owner that asks.
    pub owner: Vec<u8>,
    /// The mode that it asks for.
    pub mode: Mode,
    /// The time since it joined the queue, in milliseconds.
    pub waited_ms: u64,
    /// The id of the client that waits, as CLIENT LIST shows it.
    pub client: u64,
}

/// LOCK.CHECK: the fence and the milliseconds that are left, if the owner holds the lock. `key_ttl_ms` is what is left of a TTL
/// that somebody set by hand. It ends the hold if it runs out first.
pub fn check(holders: &Holders, key_ttl_ms: Option<u64>, owner: OwnerRef, now: Now) -> Option<(u64, u64)> {
    let (_, _, hold) = holders.of(owner).filter(|(.., hold)| !hold.is_expired(now.steady))?;
    Some((hold.fence.get(), ttl_ms(hold, key_ttl_ms, now)))
}

impl<W: Waiting> Engine<W> {
    /// LOCK.INFO, with `key_ttl_ms` as in [`check`]. `None` if nobody waits and every lease has ended or cooling is over, even if
    /// the key is still there.
    pub fn report<'a>(
        &self,
        at: KeyRef,
        holders: &'a Holders,
        key_ttl_ms: Option<u64>,
        now: Now,
    ) -> Option<Report<'a>> {
        let running = || holders.iter().filter(|(_, hold)| !hold.is_expired(now.steady));
        let cooling_ms = cooling_ms(holders, key_ttl_ms, now);
        let queue = self.waits.queue(at);
        let mode = match (cooling_ms, running().next()) {
            (Some(_), _) => HeldAs::Cooling,
            (None, Some((mode, _))) => mode.into(),
            (None, None) if self.waiters_for(at) > 0 => HeldAs::Free,
            (None, None) => return None,
        };
        Some(Report {
            mode,
            cooling_ms: cooling_ms.unwrap_or(0),
            holders_count: holders.count_running(now.steady),
            holders: running()
                .take(HOLDERS_SHOWN)
                .map(|(mode, hold)| self.report_holder(mode, hold, key_ttl_ms, now))
                .collect(),
            waiters: queue.map_or(0, |queue| queue.len()),
            queue: queue.map_or_else(Vec::new, |queue| self.report_queue(queue, QUEUE_SHOWN, now)),
        })
    }

    /// The first waiters of a queue.
    pub(super) fn report_queue(&self, queue: &WaitQueue, shown: usize, now: Now) -> Vec<WaiterReport> {
        let first = queue.iter().take(shown).map(|(ticket, waiter)| WaiterReport {
            owner: waiter.request.owner.as_bytes().to_vec(),
            mode: waiter.request.mode,
            waited_ms: ms_between(waiter.since, now.steady),
            client: self.waits.clients().number(ticket).unwrap_or(0),
        });
        first.collect()
    }

    /// The number of clients that wait for this lock under another name than this one: those for whom a holder can yield.
    pub fn waiters_beside(&self, at: KeyRef, holder: OwnerRef) -> usize {
        self.waits.queue(at).map_or(0, |queue| queue.len() - queue.tickets_of(holder).len())
    }

    /// The number of clients that wait for this lock.
    pub fn waiters_for(&self, at: KeyRef) -> usize {
        self.waits.queue(at).map_or(0, WaitQueue::len)
    }

    fn report_holder<'a>(&self, mode: Mode, hold: &'a Hold, key_ttl_ms: Option<u64>, now: Now) -> HolderReport<'a> {
        let limit = match mode {
            Mode::Exclusive => None,
            Mode::Shared(limit) => limit,
        };
        HolderReport {
            owner: hold.owner.as_bytes(),
            fence: hold.fence.get(),
            ttl_ms: ttl_ms(hold, key_ttl_ms, now),
            held_ms: ms_between(hold.since, now.steady),
            limit: limit.map_or(0, |limit| limit.units().into()),
            weight: limit.map_or(1, |limit| limit.weight().into()),
            max_ms: hold.max_end().map_or(0, |end| us_between(now.steady, end).div_ceil(1000)),
            session: hold.session.and_then(|session| self.sessions.client(session)).unwrap_or(0),
        }
    }
}

/// What is left of a lock's cooling, or of the key's TTL if that ends first; `None` if the lock is not cooling.
pub(super) fn cooling_ms(holders: &Holders, key_ttl_ms: Option<u64>, now: Now) -> Option<u64> {
    let left_ms = us_between(now.steady, holders.cooling_until(now.steady)?).div_ceil(1000);
    (left_ms > 0).then(|| key_ttl_ms.map_or(left_ms, |ttl_ms| ttl_ms.clamp(1, left_ms)))
}

/// What is left of a hold in milliseconds, or of the key's TTL if that ends first. Rounded up: a hold that runs has at least 1 ms left.
pub(super) fn ttl_ms(hold: &Hold, key_ttl_ms: Option<u64>, now: Now) -> u64 {
    let lease_ms = us_between(now.steady, hold.expires_at).div_ceil(1000);
    key_ttl_ms.map_or(lease_ms, |ttl_ms| ttl_ms.clamp(1, lease_ms))
}

/// The time between two moments in milliseconds.
pub(super) fn ms_between(from: Steady, to: Steady) -> u64 {
    us_between(from, to) / 1000
}

fn us_between(from: Steady, to: Steady) -> u64 {
    u64::try_from(to.0.saturating_sub(from.0)).unwrap_or(0)
}
