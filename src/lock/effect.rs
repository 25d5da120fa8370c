//! What a step of the rules wants done, in the order in which it is to be done.

use super::hold::{Hold, HoldId, Session};
use super::owner::Owner;
use super::queue::Ticket;
use super::shared::SharedHolders;
use super::time::Steady;

/// Why a hold ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Its owner released it.
    Released,
    /// Its lease expired.
    Expired,
    /// Its connection closed.
    Closed,
    /// The answer with the grant did not reach its client.
    Undelivered,
}

/// What changed of a hold that goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HoldChange {
    /// Its owner reacquired the lock: the lease ends later, or the fence is another one.
    Reacquired,
    /// Its owner extended it: the lease ends at another time, or the fence was raised.
    Extended,
    /// It was exclusive, and is shared now.
    Downgraded,
}

/// The answer to a request that waited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Its owner holds the lock now; the fence is part of the id.
    Granted(HoldId),
    /// Its wait timed out.
    TimedOut,
    /// Its owner withdrew it with LOCK.RELEASE.
    Withdrawn,
    /// Its owner holds the lock shared meanwhile, and this request asks for an exclusive hold.
    MustRelease,
    /// Its user may not acquire the lock any more.
    NoPermission,
}

/// One thing that a step wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// A hold began: record it. The moment is the one since which it was waited for; `None` if it was granted at once.
    Granted(HoldId, Option<Steady>),
    /// A hold changed: record it. No owner gained or lost the lock.
    Changed(HoldId, HoldChange),
    /// This owner's hold is no longer bound to the connection given here, but to another one or to none. That is not saved.
    /// (By the end of the step the hold may have ended, or may have another id.)
    Rebound(HoldId, Owner, Option<Session>),
    /// A hold ended: record it.
    Ended(Hold, End),
    /// These holds had expired and made room for an exclusive one. They are counted and reported one by one, when there is
    /// time.
    Expired(SharedHolders),
    /// The lock is cooling from now on: record it. It comes right after the end of the hold.
    Cools,
    /// Cooling is over, and the lock is free: record it.
    Cooled,
    /// Nothing at this lock keeps this waiter, which waits for several locks, from being granted it. It stays in the queue
    /// until all of them can be granted.
    Ready(Ticket),
    /// Answer this waiter, which has left the queue, once all effects before this one are recorded.
    Answer(Ticket, Answer),
}
