//! Holds: what is saved of a lock. Waiters are in [`super::line`], and never saved.

use super::fence::Fence;
use super::owner::{Owner, OwnerRef};
use super::time::{Millis, Steady};

/// How a lock is asked for and held.
///
/// One mode so far. Shared and counted holds join it; every `match` on it will then have to answer for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Held by one owner alone.
    Exclusive,
}

/// Where this process knows a hold from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Granted by this process.
    Granted,
    /// Read from RDB or AOF, restored, or replicated. Numbers above its fence may have been lost with the last writes
    /// before a crash, so its owner draws a new one when it asks again.
    Inherited,
}

/// One owner's running hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// Who holds.
    pub owner: Owner,
    /// The number given with the grant.
    pub fence: Fence,
    /// When the lease ends unless it is extended; over as soon as the clock reads this.
    pub end: Steady,
    /// The length the lease was last given. At no time is more than this left of it.
    pub lease: Millis,
    /// The moment of the grant.
    pub since: Steady,
    /// Granted here, or taken over.
    pub origin: Origin,
}

impl Hold {
    /// Whether the lease has run out.
    pub fn is_over(&self, now: Steady) -> bool {
        self.end <= now
    }
}

/// All holds on one lock: the part of its state that is saved and replicated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holders {
    /// Nobody holds it. Never stored: a free lock is no key.
    Free,
    /// One owner alone.
    Exclusive(Hold),
}

impl Holders {
    /// The hold of `owner`, its lease run out or not.
    pub fn of(&self, owner: OwnerRef) -> Option<&Hold> {
        match self {
            Holders::Free => None,
            Holders::Exclusive(hold) => (hold.owner.borrow() == owner).then_some(hold),
        }
    }

    /// The same, to change it.
    pub fn of_mut(&mut self, owner: OwnerRef) -> Option<&mut Hold> {
        match self {
            Holders::Free => None,
            Holders::Exclusive(hold) => (hold.owner.borrow() == owner).then_some(hold),
        }
    }

    /// The first moment at which a lease ends; `None` when free.
    pub fn first_end(&self) -> Option<Steady> {
        match self {
            Holders::Free => None,
            Holders::Exclusive(hold) => Some(hold.end),
        }
    }

    /// Every hold.
    pub fn iter(&self) -> impl Iterator<Item = &Hold> {
        match self {
            Holders::Free => None,
            Holders::Exclusive(hold) => Some(hold),
        }
        .into_iter()
    }

    /// Puts a hold in its place: an exclusive one replaces whatever was held.
    pub fn put(&mut self, mode: Mode, hold: Hold) {
        match mode {
            Mode::Exclusive => *self = Holders::Exclusive(hold),
        }
    }

    /// Takes out the hold with this fence; `None` when there is none.
    pub fn remove(&mut self, fence: Fence) -> Option<Hold> {
        match std::mem::replace(self, Holders::Free) {
            Holders::Exclusive(hold) if hold.fence == fence => Some(hold),
            other => {
                *self = other;
                None
            }
        }
    }
}
