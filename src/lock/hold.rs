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

/// What a hold was granted with, beside its owner and its mode: the lease, MAX, DELAY, the ACL user, and the origin.
///
/// There is one for each of millions of holds, so most of it is packed into 15 bytes: 35 bits for the lease, 35 for MAX (0:
/// none), 22 for DELAY (0: none), and 28 for the user (0: unknown).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    packed: [u8; 15],
    origin: Origin,
}

/// A number in [`Terms::packed`]: its first bit, and how many it has.
struct Bits(u32, u32);

const LEASE: Bits = Bits(0, 35);
const MAX: Bits = Bits(35, 35);
const DELAY: Bits = Bits(70, 22);
const USER: Bits = Bits(92, 28);

impl Bits {
    fn mask(&self) -> u64 {
        (1 << self.1) - 1
    }
}

impl Terms {
    /// The longest lease, and the longest MAX: 365 days.
    pub const LONGEST: Millis = Millis(365 * 24 * 60 * 60 * 1000);
    /// The longest DELAY: one hour.
    pub const DELAY_MAX: Millis = Millis(60 * 60 * 1000);

    /// The terms of a hold with this lease, without MAX and DELAY, of an unknown user.
    pub fn new(lease: Millis, origin: Origin) -> Terms {
        let mut terms = Terms { packed: [0; 15], origin };
        terms.set(u128::from(lease.0.min(LEASE.mask())));
        terms
    }

    /// The terms of a hold that this process grants.
    pub fn granted(lease: Millis, max: Option<Millis>, delay: Option<Millis>, user: Option<User>) -> Terms {
        let mut terms = Terms::new(lease, Origin::Granted);
        // Most holds have neither.
        if max.is_some() || delay.is_some() {
            terms = terms.with(max, delay);
        }
        terms.by(user)
    }

    /// The same terms with MAX and DELAY.
    pub fn with(mut self, max: Option<Millis>, delay: Option<Millis>) -> Terms {
        self.put(MAX, max.map_or(0, |max| max.0));
        self.put(DELAY, delay.map_or(0, |delay| delay.0));
        self
    }

    /// The same terms for this user. A number beyond 2^28 - 1 counts as unknown.
    pub fn by(mut self, user: Option<User>) -> Terms {
        let number = user.map_or(0, |user| u64::from(user.0.get()));
        self.put(USER, if number > USER.mask() { 0 } else { number });
        self
    }

    /// The length that was last given to the lease. The time that is left is never longer than this.
    pub fn lease(self) -> Millis {
        Millis(self.get(LEASE))
    }

    /// The longest that the hold may last, counted from its grant, however often it is extended.
    pub fn max(self) -> Option<Millis> {
        Some(Millis(self.get(MAX))).filter(|max| max.0 > 0)
    }

    /// How long the lock is cooling if the hold ends by its lease or its session. Only exclusive holds have it.
    pub fn delay(self) -> Option<Millis> {
        Some(Millis(self.get(DELAY))).filter(|delay| delay.0 > 0)
    }

    /// The ACL user that asked for the hold, if this process knows. It is never saved.
    pub fn user(self) -> Option<User> {
        NonZeroU32::new(self.get(USER) as u32).map(User)
    }

    /// Whether this process granted the hold or took it over.
    pub fn origin(self) -> Origin {
        self.origin
    }

    /// Changes the lease.
    pub fn set_lease(&mut self, lease: Millis) {
        self.put(LEASE, lease.0);
    }

    /// Changes the origin.
    pub fn set_origin(&mut self, origin: Origin) {
        self.origin = origin;
    }

    /// Takes DELAY off: the hold is shared from now on.
    pub fn clear_delay(&mut self) {
        self.put(DELAY, 0);
    }

    fn get(self, bits: Bits) -> u64 {
        (self.all() >> bits.0) as u64 & bits.mask()
    }

    /// A number that is too large becomes the largest one.
    fn put(&mut self, bits: Bits, number: u64) {
        let others = self.all() & !(u128::from(bits.mask()) << bits.0);
        self.set(others | u128::from(number.min(bits.mask())) << bits.0);
    }

    fn set(&mut self, all: u128) {
        let [packed @ .., _] = all.to_le_bytes();
        self.packed = packed;
    }

    fn all(self) -> u128 {
        let mut bytes = [0; 16];
        let [packed @ .., _] = &mut bytes;
        *packed = self.packed;
        u128::from_le_bytes(bytes)
    }
}

impl fmt::Debug for Terms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (lease, max, delay) = (self.lease(), self.max(), self.delay());
        let mut terms = f.debug_struct("Terms");
        terms.field("lease", &lease).field("max", &max).field("delay", &delay);
        terms.field("user", &self.user()).field("origin", &self.origin).finish()
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
        assert_eq!((size_of::<Hold>(), size_of::<crate::lock::Holders>()), (72, 72));
    }

    proptest! {
        #[test]
        fn terms_are_read_as_they_were_set(
            lease in 1..=Terms::LONGEST.0, again in 1..=Terms::LONGEST.0, max in 0..=Terms::LONGEST.0,
            delay in 0..=Terms::DELAY_MAX.0, user in 0..1u32 << 28, inherited: bool,
        ) {
            let user = NonZeroU32::new(user).map(User);
            let origin = if inherited { Origin::Inherited } else { Origin::Granted };
            let (max, delay) = (Some(Millis(max)).filter(|max| max.0 > 0), Some(Millis(delay)).filter(|delay| delay.0 > 0));
            let mut terms = Terms::new(Millis(lease), origin).with(max, delay).by(user);
            prop_assert_eq!((terms.lease(), terms.max(), terms.delay(), terms.origin()), (Millis(lease), max, delay, origin));
            terms.set_lease(Millis(again));
            terms.set_origin(Origin::Granted);
            prop_assert_eq!((terms.lease(), terms.max(), terms.delay(), terms.origin()), (Millis(again), max, delay, Origin::Granted));
            prop_assert_eq!(terms.user(), user);
            prop_assert_eq!(terms.by(NonZeroU32::new(1 << 28).map(User)).user(), None);
            terms.clear_delay();
            prop_assert_eq!((terms.lease(), terms.max(), terms.delay()), (Millis(again), max, None));
        }
    }
}
