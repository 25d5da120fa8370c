//! Tests of the rules without Redis: a table of single steps, every short sequence of events, and long random sequences
//! that are compared with a second model.
//!
//! This file defines the events that can happen to a lock. [`harness`] applies them to one lock, and [`invariants`]
//! checks every step.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod exhaustive;
mod expired;
mod harness;
mod invariants;
mod model;
pub mod program;
mod queue;
mod random;
mod reach;
mod shared;
mod table;
mod words;

use std::collections::BTreeSet;

use super::queue::Waiter;
use super::*;
use harness::{Harness, Outcome, Returned};

/// A client. Its name is also the owner's name in its requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Client {
    A,
    B,
    C,
    D,
}

impl Client {
    const ALL: [Client; 4] = [Client::A, Client::B, Client::C, Client::D];

    /// The owner that this client names in its requests.
    fn owner(self) -> Owner {
        let name: &[u8] = match self {
            Client::A => b"A",
            Client::B => b"B",
            Client::C => b"C",
            Client::D => b"D",
        };
        OwnerRef::new(name).unwrap().to_owner()
    }

    /// The client with this owner's name.
    fn of(owner: &Owner) -> Client {
        *Client::ALL.iter().find(|client| client.owner() == *owner).unwrap()
    }
}

/// As [`Rights`], a set contains the users that may no longer acquire the lock.
impl Rights for BTreeSet<User> {
    fn may_acquire(&mut self, user: User) -> bool {
        !self.contains(&user)
    }
}

/// The mode that a request asks for, and the options that change how the hold ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModeOption {
    /// Without SHARED.
    Exclusive,
    /// SHARED without LIMIT.
    Shared,
    /// SHARED with this LIMIT.
    SharedLimit(u64),
    /// SHARED with this LIMIT and WEIGHT.
    SharedWeight(u64, u64),
    /// Without SHARED, with MAX in milliseconds.
    ExclusiveMax(u64),
    /// SHARED with MAX in milliseconds.
    SharedMax(u64),
    /// Without SHARED, with DELAY in milliseconds.
    ExclusiveDelay(u64),
}

impl ModeOption {
    fn mode(self) -> Mode {
        match self {
            ModeOption::Exclusive | ModeOption::ExclusiveMax(_) | ModeOption::ExclusiveDelay(_) => Mode::Exclusive,
            ModeOption::Shared | ModeOption::SharedMax(_) => Mode::Shared(None),
            ModeOption::SharedLimit(limit) => Mode::Shared(Limit::new(limit)),
            ModeOption::SharedWeight(limit, weight) => Mode::Shared(Limit::weighted(limit, weight)),
        }
    }

    fn max(self) -> Option<Millis> {
        match self {
            ModeOption::ExclusiveMax(max) | ModeOption::SharedMax(max) => Some(Millis(max)),
            _ => None,
        }
    }

    fn delay(self) -> Option<Millis> {
        match self {
            ModeOption::ExclusiveDelay(delay) => Some(Millis(delay)),
            _ => None,
        }
    }
}

/// Whether a request has the option SESSION.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionOption {
    /// The option is not given.
    NoSession,
    /// SESSION, sent on the n-th open connection, counted from 0.
    OnConnection(usize),
}

/// The option FENCE of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FenceOption {
    /// The option is not given.
    NoFence,
    /// The fence of the owner's hold. If the owner has none, the smallest fence of any hold on the lock; if the lock is
    /// free, a fence that no hold has.
    Right,
    /// A fence that no hold has.
    Wrong,
}

/// The option RAISE of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RaiseOption {
    /// The option is not given.
    NoRaise,
    /// Raises to a number below the fence of every hold.
    RaiseBelow,
    /// Raises to the largest fence of any hold on the lock, which may be another owner's.
    RaiseToLargest,
    /// Raises to a number above every fence that was ever given.
    RaiseAbove,
}

/// Something that can happen to a lock. All lengths of time are in milliseconds.
///
/// A test that fails prints its events as Rust code, which can be pasted into a new test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// LOCK.ACQUIRE without BLOCK: client, mode, lease, session.
    Try(Client, ModeOption, u64, SessionOption),
    /// LOCK.ACQUIRE with BLOCK: client, mode, lease, session, and the limit of the wait (0: no limit).
    Wait(Client, ModeOption, u64, SessionOption, u64),
    /// LOCK.RELEASE.
    Release(Client, FenceOption),
    /// LOCK.RELEASE with COOL.
    Cool(Client, FenceOption, u64),
    /// LOCK.RELEASE with DOWNGRADE.
    Downgrade(Client, FenceOption),
    /// LOCK.EXTEND: client, new lease (0: not given), fence, raise.
    Extend(Client, u64, FenceOption, RaiseOption),
    /// The n-th waiter leaves the queue, because its client disconnected.
    Leave(usize),
    /// The n-th answer in flight reaches its client.
    Delivered(usize),
    /// The n-th answer in flight cannot be delivered.
    Undelivered(usize),
    /// The n-th connection closes, and a new one takes its place.
    Close(usize),
    /// This much time passes, and the timer does not run.
    PassTime(u64),
    /// The wall clock is set forward or back by this much. The steady clock stays.
    SetWallClock(i64),
    /// The ACL forbids LOCK.ACQUIRE to the user whose requests ask for this lease.
    Deny(u64),
    /// The ACL allows LOCK.ACQUIRE to that user again.
    Allow(u64),
    /// The lock makes another step, because the step before left waiters that could be served.
    Advance,
    /// The timer runs: waits time out, expired holds end, and the queue is reconciled with the holders.
    RunTimer,
    /// An operator removes the key.
    Remove,
    /// An operator restores a lock over the key, in which this client's owner holds it in this mode and for this lease.
    ///
    /// The holders before it stay if they could have let the owner in. Otherwise it is the only holder.
    Restore(Client, ModeOption, u64),
}

/// The events as rows of Rust code, to be pasted into a test.
fn rows(events: &[Event]) -> String {
    events.iter().map(|event| format!("        {event:?},\n")).collect()
}
