//! Fencing tokens (*fences*): the numbers that are given with grants, and the clock that they come from.
//!
//! The clock is a hybrid one: it follows the wall clock in microseconds and never falls. A server that starts, or is
//! promoted, leaps to [`LEAP_US`] ahead of its wall clock. Below a million grants a second no server has by time t given
//! a number above t + 60 s (RAISE is held to the same bound), so whoever leaps begins above everything given before it,
//! also when it knows nothing of it: a restart without data, a replica promoted without the last writes, an old primary
//! that still grants behind a network cut of up to a minute. So does one that gains a slot of a cluster: the server that had
//! it may have leapt within the last minute.

use super::time::UnixMicros;
use crate::failpoints::{self, Failpoint};

/// How far a start or a promotion leaps ahead of the wall clock, and how far RAISE may lift a fence: 60 s.
pub const LEAP_US: u64 = 60_000_000;

/// A fencing token: at least 1 and below 2^53, so that a double holds it exactly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fence(u64);

impl Fence {
    /// The largest fence, 2^53 - 1: the largest whole number up to which a double misses none.
    pub const MAX: Fence = Fence((1 << 53) - 1);

    /// `None` outside 1 to 2^53 - 1.
    pub fn new(number: u64) -> Option<Fence> {
        (1..=Self::MAX.0).contains(&number).then_some(Fence(number))
    }

    /// The number itself.
    pub fn get(self) -> u64 {
        self.0
    }
}

/// The source of a server's fences. There is one for all its keys.
#[derive(Clone, Debug)]
pub struct FenceClock {
    last: u64,
    granted: bool,
    /// Where the last leap at a start or a promotion came to. Fences given since are above it, earlier ones are not.
    floor: u64,
}

impl FenceClock {
    /// A clock that has given nothing yet; see [`FenceClock::leap`].
    pub const fn new() -> FenceClock {
        FenceClock { last: 0, granted: false, floor: 0 }
    }

    /// The next fence, larger than every fence before it. Only a grant may take one (I3 of [`super`]).
    pub fn next(&mut self, now: UnixMicros) -> Fence {
        // Wall time reaches 2^53 us in the year 2255; the bound only keeps the type's promise.
        let step = if failpoints::is_on(Failpoint::FenceNotRaised) { 0 } else { 1 };
        self.last = (self.last + step).max(now.0).min(Fence::MAX.0);
        self.granted = true;
        Fence(self.last)
    }

    /// Takes note of a fence given elsewhere: replicated, loaded, or raised.
    pub fn observe(&mut self, fence: Fence) {
        self.last = self.last.max(fence.0);
        self.granted = true;
    }

    /// At every start and every promotion: 60 s ahead of the wall clock.
    pub fn leap(&mut self, now: UnixMicros) {
        self.last = self.ahead(now);
        self.floor = self.last;
    }

    /// When a slot of a cluster came from another server: as far ahead as that one may be. Holds of this server are not of
    /// an earlier term for that.
    pub fn leap_for_slots(&mut self, now: UnixMicros) {
        self.last = self.ahead(now);
    }

    fn ahead(&self, now: UnixMicros) -> u64 {
        let leap_us = if failpoints::is_on(Failpoint::FenceNotLeapt) { 0 } else { LEAP_US };
        self.last.max(now.0.saturating_add(leap_us)).min(Fence::MAX.0)
    }

    /// Whether this fence was given before the last start or promotion. Larger ones may have been given since, and lost.
    pub fn is_of_earlier_term(&self, fence: Fence) -> bool {
        fence.0 <= self.floor
    }

    /// The largest number that was given or leapt to; the next one is above it. `None` before the first leap.
    pub fn last(&self) -> Option<Fence> {
        Fence::new(self.last)
    }

    /// Whether this data set has ever seen a grant. A data set that has not need not remember the clock.
    pub fn has_granted(&self) -> bool {
        self.granted
    }

    /// What the data set is to remember of the clock: the largest number, or 0 if it need not.
    pub fn to_save(&self) -> u64 {
        if self.granted {
            self.last
        } else {
            0
        }
    }

    /// The largest fence that RAISE may ask for now.
    pub fn raise_max(now: UnixMicros) -> u64 {
        now.0.saturating_add(LEAP_US).min(Fence::MAX.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fences_follow_the_wall_clock_and_never_fall() {
        let mut clock = FenceClock::new();
        assert_eq!(clock.next(UnixMicros(1000)).get(), 1000);
        assert_eq!(clock.next(UnixMicros(1000)).get(), 1001);
        assert_eq!(clock.next(UnixMicros(5)).get(), 1002);
        assert_eq!(clock.next(UnixMicros(2000)).get(), 2000);
    }

    #[test]
    fn a_leap_lies_above_all_that_an_unknown_predecessor_gave() {
        let (mut old, mut new) = (FenceClock::new(), FenceClock::new());
        old.leap(UnixMicros(0));
        let given = (0..1000).map(|_| old.next(UnixMicros(1))).max().unwrap();
        new.leap(UnixMicros(2000));
        assert!(new.next(UnixMicros(2000)) > given);
    }

    #[test]
    fn a_leap_tells_earlier_fences_from_later_ones() {
        let mut clock = FenceClock::new();
        clock.leap(UnixMicros(0));
        let own = clock.next(UnixMicros(1));
        assert!(!clock.is_of_earlier_term(own));
        clock.leap(UnixMicros(2));
        assert!(clock.is_of_earlier_term(own));
        assert!(!clock.is_of_earlier_term(clock.clone().next(UnixMicros(2))));
    }

    #[test]
    fn an_observed_fence_is_never_given_again() {
        let mut clock = FenceClock::new();
        clock.observe(Fence::new(77).unwrap());
        assert_eq!(clock.next(UnixMicros(1)).get(), 78);
    }

    #[test]
    fn fences_stay_below_two_to_the_53() {
        let mut clock = FenceClock::new();
        clock.observe(Fence::MAX);
        assert_eq!(clock.next(UnixMicros(u64::MAX)), Fence::MAX);
        assert_eq!(Fence::new(0), None);
        assert_eq!(Fence::new(1 << 53), None);
    }
}
