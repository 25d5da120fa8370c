//! One owner's hold on a lock.

use std::fmt;
use std::num::{NonZeroU32, NonZeroU64};

use super::fence::Fence;
use super::owner::Owner;
use super::time::{Millis, Steady};
use crate::failpoints::{self, Failpoint};

/// How a lock is requested and held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// One owner holds it alone.
    Exclusive,
    /// Several owners hold it together. With a limit, the owner is let in only while it leaves room for the units that the
    /// owner takes.
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

/// The units that shared holders may take together (LIMIT), and how many of them this owner takes (WEIGHT).
///
/// Limits are ordered by the number of units, and then by weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Limit {
    units: NonZeroU32,
    weight: NonZeroU32,
}

impl Limit {
    /// The largest limit that can be asked for.
    pub const MAX: u32 = 1_000_000;

    /// This many units, of which the owner takes one. `None` outside 1 to [`Limit::MAX`].
    pub fn new(units: u64) -> Option<Limit> {
        Limit::weighted(units, 1)
    }

    /// This many units, of which the owner takes `weight`. `None` unless 1 <= weight <= units <= [`Limit::MAX`].
    pub fn weighted(units: u64, weight: u64) -> Option<Limit> {
        let number = |number: u64| u32::try_from(number).ok().and_then(NonZeroU32::new);
        let limit = Limit { units: number(units)?, weight: number(weight)? };
        (limit.weight <= limit.units && limit.units.get() <= Self::MAX).then_some(limit)
    }

    /// The number of units that holders may take together.
    pub fn units(self) -> u32 {
        self.units.get()
    }

    /// The number of units that the owner takes.
    pub fn weight(self) -> u32 {
        self.weight.get()
    }
}

/// The number of units that a shared holder with this limit takes: one without a limit.
pub fn weight(limit: Option<Limit>) -> usize {
    match limit {
        Some(limit) if !failpoints::is_on(Failpoint::WeightIgnored) => limit.weight() as usize,
        _ => 1,
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
    /// The moment of the grant.
    pub since: Steady,
    /// The lease and the options that it was granted with.
    pub terms: Terms,
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

    /// The last moment to which the lease can be extended; `None` if the hold was granted without MAX.
    pub fn max_end(&self) -> Option<Steady> {
        self.terms.max().map(|max| self.since + max)
    }

    /// Sets the lease, counted from now, but ends it no later than MAX allows.
    pub fn set_lease(&mut self, lease: Millis, now: Steady) {
        let (lease, expires_at) = self.cut(lease, now);
        self.terms.set_lease(lease);
        self.expires_at = expires_at;
    }

    /// The lease that is left of this one if it begins now, and when it expires: no later than MAX allows.
    pub fn cut(&self, lease: Millis, now: Steady) -> (Millis, Steady) {
        let expires_at = now + lease;
        match self.max_end() {
            Some(end) if end < expires_at => (Millis(now.until(end).0.max(1)), end),
            _ => (lease, expires_at),
        }
    }
}

/// What a hold was granted with, beside its owner and its mode: the lease, MAX, DELAY and the origin.
///
/// There is one for each of millions of holds, so it is packed into 12 bytes: 35 bits for the lease, 35 for MAX (0: none), 22
/// for DELAY (0: none) and one for the origin.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Terms([u32; 3]);

impl Terms {
    /// The longest lease, and the longest MAX: 365 days.
    pub const LONGEST: Millis = Millis(365 * 24 * 60 * 60 * 1000);
    /// The longest DELAY: one hour.
    pub const DELAY_MAX: Millis = Millis(60 * 60 * 1000);

    const LEASE_BITS: u32 = 35;
    const DELAY_BITS: u32 = 22;
    const MAX_AT: u32 = Self::LEASE_BITS;
    const DELAY_AT: u32 = 2 * Self::LEASE_BITS;
    const ORIGIN_AT: u32 = Self::DELAY_AT + Self::DELAY_BITS;

    /// The terms of a hold with this lease, without MAX and DELAY.
    pub fn new(lease: Millis, origin: Origin) -> Terms {
        let mut terms = Terms([0; 3]);
        terms.set_lease(lease);
        terms.set_origin(origin);
        terms
    }

    /// The same terms with MAX and DELAY.
    pub fn with(mut self, max: Option<Millis>, delay: Option<Millis>) -> Terms {
        self.put(Self::MAX_AT, Self::LEASE_BITS, max.map_or(0, |max| max.0));
        self.put(Self::DELAY_AT, Self::DELAY_BITS, delay.map_or(0, |delay| delay.0));
        self
    }

    /// The length that was last given to the lease. The time that is left is never longer than this.
    pub fn lease(self) -> Millis {
        Millis(self.get(0, Self::LEASE_BITS))
    }

    /// The longest that the hold may last, counted from its grant, however often it is extended.
    pub fn max(self) -> Option<Millis> {
        let max = self.get(Self::MAX_AT, Self::LEASE_BITS);
        (max > 0).then_some(Millis(max))
    }

    /// How long the lock is cooling if the hold ends by its lease or its session. Only exclusive holds have it.
    pub fn delay(self) -> Option<Millis> {
        let delay = self.get(Self::DELAY_AT, Self::DELAY_BITS);
        (delay > 0).then_some(Millis(delay))
    }

    /// Whether this process granted the hold or took it over.
    pub fn origin(self) -> Origin {
        if self.get(Self::ORIGIN_AT, 1) == 0 {
            Origin::Granted
        } else {
            Origin::Inherited
        }
    }

    /// Changes the lease.
    pub fn set_lease(&mut self, lease: Millis) {
        self.put(0, Self::LEASE_BITS, lease.0);
    }

    /// Changes the origin.
    pub fn set_origin(&mut self, origin: Origin) {
        self.put(Self::ORIGIN_AT, 1, u64::from(origin == Origin::Inherited));
    }

    /// Takes DELAY off: the hold is shared from now on.
    pub fn clear_delay(&mut self) {
        self.put(Self::DELAY_AT, Self::DELAY_BITS, 0);
    }

    fn get(self, at: u32, bits: u32) -> u64 {
        (self.bits() >> at) as u64 & mask(bits)
    }

    /// A number that is too large becomes the largest one.
    fn put(&mut self, at: u32, bits: u32, number: u64) {
        let number = number.min(mask(bits));
        let all = self.bits() & !(u128::from(mask(bits)) << at) | u128::from(number) << at;
        self.0 = [all as u32, (all >> 32) as u32, (all >> 64) as u32];
    }

    fn bits(self) -> u128 {
        let [low, middle, high] = self.0;
        u128::from(low) | u128::from(middle) << 32 | u128::from(high) << 64
    }
}

fn mask(bits: u32) -> u64 {
    (1 << bits) - 1
}

impl fmt::Debug for Terms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (lease, max, delay, origin) = (self.lease(), self.max(), self.delay(), self.origin());
        f.debug_struct("Terms")
            .field("lease", &lease)
            .field("max", &max)
            .field("delay", &delay)
            .field("origin", &origin)
            .finish()
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

/// The time after a hold during which nobody is granted the lock (COOL, DELAY).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cooling {
    /// When it is over.
    pub until: Steady,
    /// How long it was to last. The time that is left is never longer than this.
    pub length: Millis,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_options_that_few_holds_have_cost_the_others_no_memory() {
        assert_eq!(size_of::<Hold>(), 72);
    }

    proptest! {
        #[test]
        fn terms_are_read_as_they_were_set(
            lease in 1..=Terms::LONGEST.0, again in 1..=Terms::LONGEST.0, max in 0..=Terms::LONGEST.0,
            delay in 0..=Terms::DELAY_MAX.0, inherited: bool,
        ) {
            let origin = if inherited { Origin::Inherited } else { Origin::Granted };
            let (max, delay) = (Some(Millis(max)).filter(|max| max.0 > 0), Some(Millis(delay)).filter(|delay| delay.0 > 0));
            let mut terms = Terms::new(Millis(lease), origin).with(max, delay);
            prop_assert_eq!((terms.lease(), terms.max(), terms.delay(), terms.origin()), (Millis(lease), max, delay, origin));
            terms.set_lease(Millis(again));
            terms.set_origin(Origin::Granted);
            prop_assert_eq!((terms.lease(), terms.max(), terms.delay(), terms.origin()), (Millis(again), max, delay, Origin::Granted));
            terms.clear_delay();
            prop_assert_eq!((terms.lease(), terms.max(), terms.delay()), (Millis(again), max, None));
        }
    }
}
