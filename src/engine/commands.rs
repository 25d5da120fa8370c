//! The commands that take a step of the rules: LOCK.ACQUIRE, LOCK.RELEASE and LOCK.EXTEND.

use super::deadlock::Search;
use super::names::KeyRef;
use super::server::{Key, KeyEvent, Keyspace, Waiting, WrongType};
use super::state::Engine;
use crate::lock::{Acquired, Extend, Fence, Now, OwnerRef, Released, Request, Steady, Ticket, Wait, WaitQueue};
use crate::wire::errors::Refused;
use crate::wire::{ExtendRequest, Patience, ReleaseRequest};

/// What LOCK.ACQUIRE comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The owner holds the lock, under this fence.
    Granted(Fence),
    /// The lock is taken, and the client does not wait.
    Busy,
    /// The request waits under this ticket. The caller blocks the client and [parks](Engine::park) it.
    Waits(Ticket),
    /// The request is refused, and not because the lock is taken.
    Refused(Refused),
}

/// What a request does that finds the lock taken.
pub(super) fn join(patience: Patience, ticket: Ticket, now: Steady) -> Wait {
    match patience {
        Patience::None => Wait::No,
        Patience::For(length) => Wait::Join { ticket, until: Some(now + length) },
        Patience::Endless => Wait::Join { ticket, until: None },
    }
}

impl<W: Waiting> Engine<W> {
    /// LOCK.ACQUIRE. `patience` is how long to wait; a client that cannot be blocked does not wait. `keyspace` shows the search
    /// for deadlocks the holders of other locks.
    pub fn acquire<K: Key>(
        &mut self,
        at: KeyRef,
        key: &mut K,
        now: Now,
        mut request: Request<OwnerRef>,
        patience: Patience,
        keyspace: &mut impl Keyspace,
    ) -> Result<Outcome, WrongType> {
        let ticket = self.waits.next_ticket();
        request.max = self.settings.max_hold(request.max);
        let join = join(patience, ticket, now.steady);
        let full = if join == Wait::No { None } else { self.no_room_to_wait(at) };
        let wait = if full.is_some() { Wait::No } else { join };
        self.scratch.has_recorded = false;
        Ok(match self.step(at, key, now, |step| step.acquire(request, wait))? {
            Acquired::Granted(fence) => {
                if !self.scratch.has_recorded {
                    self.confirm(key, now, request.owner);
                }
                Outcome::Granted(fence)
            }
            Acquired::Refused => match full {
                Some(full) => Outcome::Refused(full),
                None => {
                    self.stats.refusals += 1;
                    Outcome::Busy
                }
            },
            Acquired::MustRelease => Outcome::Refused(Refused::MustRelease),
            Acquired::MayNotGrant => Outcome::Refused(self.refused_in_quarantine(now)),
            Acquired::Full => Outcome::Refused(Refused::Holders(self.settings.holders_max())),
            Acquired::Waits => {
                let search = Search::new(&self.waits, now.steady, self.settings.deadlock_search_max());
                if let Some(cycle) = search.cycle(&[at], ticket, keyspace) {
                    self.leave_queue(at, ticket);
                    self.stats.deadlocks_refused += 1;
                    return Ok(Outcome::Refused(Refused::Deadlock(cycle)));
                }
                // The waiter is served when the lease ends, even if the lock was renamed since it was granted.
                self.index(at, key);
                self.waits.keep_ticket();
                Outcome::Waits(ticket)
            }
        })
    }

    /// The limit that keeps another request from waiting for this lock, if there is one.
    pub(super) fn no_room_to_wait(&self, at: KeyRef) -> Option<Refused> {
        let (max, total_max) = (self.settings.waiters_max(), self.settings.waiters_total_max());
        if self.waits.len() >= total_max {
            return Some(Refused::WaitersTotal(total_max));
        }
        self.waits.queue(at).is_some_and(|queue| queue.len() >= max).then_some(Refused::Waiters(max))
    }

    /// Takes note of the client behind a ticket that [`Engine::acquire`] returned. `is_made`: the server made the owner, and
    /// must name it in the answer.
    pub fn park(&mut self, ticket: Ticket, client: W, at: KeyRef, is_made: bool) {
        self.waits.park(ticket, client, at, is_made);
        self.tell_of_first_waiter(at, ticket);
    }

    /// If nobody waited for this lock before this request, an event says that somebody does now.
    pub(super) fn tell_of_first_waiter(&mut self, at: KeyRef, ticket: Ticket) {
        let is_only = |queue: &WaitQueue| queue.len() == 1 && queue.get(ticket).is_some();
        if self.waits.queue(at).is_some_and(is_only) {
            self.events.push(KeyEvent::Contended);
        }
    }

    /// The client behind a ticket that [`Engine::acquire`] returned cannot be blocked. It does not wait.
    pub fn refuse_to_wait(&mut self, at: KeyRef, now: Now, ticket: Ticket) -> Outcome {
        self.leave_queue(at, ticket);
        self.refuse(now).map_or(Outcome::Busy, Outcome::Refused)
    }

    /// Refuses a request that does not wait: why, if not because the lock is taken. If it is, the refusal is counted.
    pub(super) fn refuse(&mut self, now: Now) -> Option<Refused> {
        if !self.quarantine.may_grant(now.steady) {
            return Some(self.refused_in_quarantine(now));
        }
        self.stats.refusals += 1;
        None
    }

    /// Why a request that does not wait is refused while the server grants nothing yet.
    fn refused_in_quarantine(&self, now: Now) -> Refused {
        Refused::Quarantine(self.quarantine.left(now.steady))
    }

    /// LOCK.RELEASE. Whether the owner held the lock.
    pub fn release<K: Key>(
        &mut self,
        at: KeyRef,
        key: &mut K,
        now: Now,
        request: &ReleaseRequest,
    ) -> Result<Released, WrongType> {
        let ReleaseRequest { owner, fence, is_downgrade, cool } = *request;
        self.step(at, key, now, |step| match is_downgrade {
            false => step.release(owner, fence, cool),
            true if step.downgrade(owner, fence) => Released::Yes,
            true => Released::NotHeld,
        })
    }

    /// LOCK.EXTEND. True if the owner held the lock.
    pub fn extend<K: Key>(
        &mut self,
        at: KeyRef,
        key: &mut K,
        now: Now,
        request: &ExtendRequest,
    ) -> Result<bool, WrongType> {
        let ExtendRequest { owner, mut lease, fence, raise } = *request;
        if lease.is_none() {
            // The length that the lease was last given, but no longer than may be asked for now.
            let longest = self.settings.leases().max;
            let held = key.stored().and_then(|stored| stored.holders.of(owner)).map(|(.., hold)| hold.terms.lease());
            lease = held.map(|lease| lease.min(longest));
        }
        self.step(at, key, now, |step| step.extend(Extend { owner, lease, fence, raise }))
    }
}
