//! One owner's hold on a lock.

use std::num::{NonZeroU32, NonZeroU64};

use super::fence::Fence;
use super::owner::Owner;
use super::time::{Millis, Steady};

/// How a lock is requested and held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// One owner holds it alone.
    Exclusive,
    /// Several owners hold it together. With a limit, the owner is let in only while fewer than that many hold the lock.
    Shared(Option<Limit>),
}

impl Mode {
    /// Whether an owner that holds a lock in this mode already has what it asks for.
    pub fn satisfies(self, asked: Mode) -> bool {
        match (self, asked) {
            (Mode::Exclusive, _) | (Mode::Shared(_), Mode::Shared(_)) => true,
            (Mode::Shared(_), Mode::Exclusive) => false,
        }
    }
}

/// The largest number of holders, 1 to [`Limit::MAX`], beside which an owner is willing to hold a lock (LIMIT).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Limit(NonZeroU32);

impl Limit {
    /// The largest limit that can be asked for.
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

/// How this process came to know a hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// This process granted it.
    Granted,
    /// It was read from an RDB file or an AOF, restored, or replicated. Larger fences may have been lost with the last writes
    /// before a crash, so its owner gets a new fence when it reacquires the lock.
    Inherited,
}

/// A connection whose holds end when it closes. The engine numbers connections, and never reuses a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Session(pub NonZeroU64);

/// An ACL user of the server, by the number that this process gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct User(pub NonZeroU32);

/// One owner's hold on a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// The owner that holds the lock.
    pub owner: Owner,
    /// The fencing token that was given with the grant.
    pub fence: Fence,
    /// When the lease expires unless it is extended. It is expired as soon as the clock shows this moment.
    pub expires_at: Steady,
    /// The length that was last given to the lease. The time that is left is never longer than this.
    pub lease: Millis,
    /// The moment of the grant.
    pub since: Steady,
    /// Whether this process granted the hold or took it over.
    pub origin: Origin,
    /// The connection whose close ends the hold as well. It is never saved: a hold that was taken over ends with its lease.
    pub session: Option<Session>,
    /// The ACL user that asked for it, if this process knows. It is never saved.
    pub user: Option<User>,
}

impl Hold {
    /// Whether the lease has expired.
    pub fn is_expired(&self, now: Steady) -> bool {
        self.expires_at <= now
    }
}

/// Identifies one of the holds on a lock: by its fence, and by a number that tells it from others whose fence was raised to the
/// same value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HoldId {
    /// The hold's fence.
    pub fence: Fence,
    /// 0 for the first hold with this fence.
    pub nth: u32,
}
