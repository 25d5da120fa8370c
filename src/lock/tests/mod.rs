//! The rules without Redis: a table of single steps, every short sequence of events, and random long ones against a
//! second model.
//!
//! Here: the events that can happen to a lock, and a bench that lets them happen to one and hands every step to
//! [`invariants`].

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod bench;
mod exhaustive;
mod expired;
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
use bench::{Bench, Outcome, Returned};

/// An owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Who {
    A,
    B,
    C,
    D,
}

impl Who {
    const ALL: [Who; 4] = [Who::A, Who::B, Who::C, Who::D];

    fn owner(self) -> Owner {
        let name: &[u8] = match self {
            Who::A => b"A",
            Who::B => b"B",
            Who::C => b"C",
            Who::D => b"D",
        };
        OwnerRef::new(name).unwrap().to_owner()
    }

    fn of(owner: &Owner) -> Who {
        *Who::ALL.iter().find(|who| who.owner() == *owner).unwrap()
    }
}

/// Users who may not ask any more.
impl Rights for BTreeSet<User> {
    fn may_acquire(&mut self, user: User) -> bool {
        !self.contains(&user)
    }
}

/// The mode of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// Without SHARED.
    Alone,
    /// SHARED.
    Together,
    /// SHARED LIMIT.
    UpTo(u64),
}

impl How {
    fn mode(self) -> Mode {
        match self {
            How::Alone => Mode::Exclusive,
            How::Together => Mode::Shared(None),
            How::UpTo(limit) => Mode::Shared(Limit::new(limit)),
        }
    }
}

/// The SESSION of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// Left out.
    Loose,
    /// On the n-th connection there is.
    To(usize),
}

/// The FENCE of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tag {
    /// Left out.
    Any,
    /// That of the owner's hold, or if it has none, of the first there is.
    Right,
    /// One that nobody bears.
    Wrong,
}

/// The RAISE of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lift {
    /// Left out.
    No,
    /// To a number below every fence.
    Low,
    /// To the largest fence there is: that of another, if it is shared.
    Same,
    /// To a number above every fence.
    High,
}

/// What can happen to a lock. Lengths are in milliseconds. Printed as it is written in a test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// ACQUIRE: owner, mode, lease, session.
    Try(Who, How, u64, Bound),
    /// ACQUIRE with BLOCK: owner, mode, lease, session, patience (0: without limit).
    Wait(Who, How, u64, Bound, u64),
    /// RELEASE.
    Release(Who, Tag),
    /// RELEASE with DOWNGRADE.
    Downgrade(Who, Tag),
    /// EXTEND: owner, lease (0: left out).
    Extend(Who, u64, Tag, Lift),
    /// The n-th in the queue is gone.
    Leave(usize),
    /// The n-th of the answers on their way arrived.
    Delivered(usize),
    /// The n-th of the answers on their way found nobody.
    Undelivered(usize),
    /// The n-th connection closes; a new one takes its place.
    Close(usize),
    /// Time passes, and the timer does not ring.
    Pass(u64),
    /// Somebody sets the wall clock, by that much.
    WallClock(i64),
    /// The user of requests for this lease may not ask any more.
    Deny(u64),
    /// It may again.
    Allow(u64),
    /// The lock takes the turn that it asked for.
    Serve,
    /// The timer rings.
    Ring,
    /// An operator removes the key.
    Remove,
    /// A lock is restored over the key. This owner holds it for that long, beside those there are if they could have
    /// let it in, else alone.
    Put(Who, How, u64),
}

/// A sequence as rows to paste into a test.
fn rows(events: &[Event]) -> String {
    events.iter().map(|event| format!("        {event:?},\n")).collect()
}
