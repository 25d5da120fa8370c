//! What a step of the rules wants done.

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
    /// Its lease ran out.
    Expired,
    /// Its connection closed.
    Closed,
    /// Nobody could be told of the grant.
    Undelivered,
}

/// What changed of a hold that goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HoldChange {
    /// Its owner asked again: a later end, or another fence.
    Reacquired,
    /// Its owner extended it: another end or fence.
    Extended,
    /// It is a shared one now.
    Downgraded,
}

/// What is said to a waiter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Its owner holds the lock now, under this fence.
    Granted(HoldId),
    /// Its wait ran out.
    TimedOut,
    /// Its owner withdrew it.
    Withdrawn,
    /// Its owner holds the lock shared now, and this request asks to hold it alone.
    MustRelease,
    /// Its user may not ask for the lock any more.
    NoPermission,
}

/// What a step wants done, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// A hold began. Record it. It was waited for since the moment given.
    Granted(HoldId, Option<Steady>),
    /// A hold went on. Record it; nobody gained or lost the lock.
    Changed(HoldId, HoldChange),
    /// This owner's hold follows another connection than the one given here. Not saved. (By the end of the step the hold may be
    /// over, or have another name.)
    Rebound(HoldId, Owner, Option<Session>),
    /// A hold ended. Record it.
    Ended(Hold, End),
    /// These holds, whose leases had run out, made room for an exclusive one. They are told of one by one, when there is time.
    Expired(SharedHolders),
    /// Answer this waiter, which has left the queue, once what came before is recorded.
    Answer(Ticket, Answer),
}
