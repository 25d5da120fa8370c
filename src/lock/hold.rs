//! One owner's hold on a lock.

use std::num::{NonZeroU32, NonZeroU64};

use super::fence::Fence;
use super::owner::Owner;
use super::time::{Millis, Steady};

/// How a lock is asked for and held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Held by one owner alone.
    Exclusive,
    /// Held together with other shared holders, as long as they are fewer than the limit.
    Shared(Option<Limit>),
}

impl Mode {
    /// Whether an owner that holds in this mode has what it asks for.
    pub fn satisfies(self, asked: Mode) -> bool {
        match (self, asked) {
            (Mode::Exclusive, _) | (Mode::Shared(_), Mode::Shared(_)) => true,
            (Mode::Shared(_), Mode::Exclusive) => false,
        }
    }
}

/// How many shared holders may be in with one that asked for this: 1 to [`Limit::MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Limit(NonZeroU32);

impl Limit {
    /// The largest LIMIT.
    pub const MAX: u32 = 1_000_000;

    /// `None` outside 1 to [`Limit::MAX`].
    pub fn new(holders: u64) -> Option<Limit> {
        let holders = u32::try_from(holders).ok().filter(|holders| *holders <= Self::MAX)?;
        NonZeroU32::new(holders).map(Limit)
    }

    /// The number itself.
    pub fn get(self) -> u32 {
        self.0.get()
    }
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

/// A connection that takes its holds with it when it closes. Given out by the server, and never twice in a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Session(pub NonZeroU64);

/// An ACL user of the server, as this process numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct User(pub NonZeroU32);

/// One owner's running hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// Who holds.
    pub owner: Owner,
    /// The number given with the grant.
    pub fence: Fence,
    /// When the lease ends unless it is extended; over as soon as the clock reads this.
    pub expires_at: Steady,
    /// The length the lease was last given. At no time is more than this left of it.
    pub lease: Millis,
    /// The moment of the grant.
    pub since: Steady,
    /// Granted here, or taken over.
    pub origin: Origin,
    /// The connection whose close ends the hold too. Never saved: the lease alone ends a hold that was taken over.
    pub session: Option<Session>,
    /// Who asked for it, as far as this process knows. Never saved.
    pub user: Option<User>,
}

impl Hold {
    /// Whether the lease has run out.
    pub fn is_expired(&self, now: Steady) -> bool {
        self.expires_at <= now
    }
}

/// Names one of the holds on a lock: its fence, and a number that tells it from others that were raised to the same one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HoldId {
    /// The hold's fence.
    pub fence: Fence,
    /// 0 for the first hold with this fence.
    pub nth: u32,
}
