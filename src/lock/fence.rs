//! Fencing tokens (*fences*): the numbers that are given with grants, and the clock that they come from.
//!
//! The clock is a hybrid one: it follows the wall clock in microseconds, and never falls. When a server starts or is
//! promoted, its clock leaps to [`LEAP_US`] ahead of the wall clock.
//!
//! As long as a server grants fewer than a million locks a second, no fence that it gave by time t is above t + 60 s.
//! (RAISE cannot exceed this bound either.) So a leap ends above all fences that were given before it, even those that
//! the server does not know: after a restart without data, after the promotion of a replica that lacks the last writes,
//! and while an old primary still grants on the other side of a network partition of up to a minute.
//!
//! A server that gains a slot of a cluster leaps as well, because the server that had the slot may have leapt within
//! the last minute.

use super::time::UnixMicros;
use crate::failpoints::{self, Failpoint};

/// How far a start or a promotion leaps ahead of the wall clock, and how far RAISE may lift a fence: 60 s.
pub const LEAP_US: u64 = 60_000_000;

/// A fencing token: at least 1 and below 2^53, so that a double holds it exactly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fence(u64);

impl Fence {
    /// The largest fence, 2^53 - 1. A double represents all whole numbers up to it exactly.
    pub const MAX: Fence = Fence((1 << 53) - 1);

    /// The fence with this number; `None` outside 1 to 2^53 - 1.
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
    /// The largest number that was given, observed or leapt to.
    last: u64,
    /// Whether a fence was ever given or observed.
    granted: bool,
    /// The number that the last start or promotion leapt to. Fences that were given since are above it, earlier ones
    /// are not.
    floor: u64,
}

impl FenceClock {
    /// A clock that has given no fence yet. It must leap before it is used, see [`FenceClock::leap`].
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

    /// Leaps to 60 s ahead of the wall clock. It is called at every start and at every promotion.
    pub fn leap(&mut self, now: UnixMicros) {
        self.last = self.ahead(now);
        self.floor = self.last;
    }

    /// Leaps as far ahead as the clock of another server may be. It is called when this server gains slots of a
    /// cluster. Holds that this server granted before do not count as inherited after it.
    pub fn leap_for_slots(&mut self, now: UnixMicros) {
        self.last = self.ahead(now);
    }

    /// The number that a leap ends at: 60 s ahead of the wall clock, and never below the last number.
    fn ahead(&self, now: UnixMicros) -> u64 {
        let leap_us = if failpoints::is_on(Failpoint::FenceNotLeapt) { 0 } else { LEAP_US };
        self.last.max(now.0.saturating_add(leap_us)).min(Fence::MAX.0)
    }

    /// Whether this fence was given before the last start or promotion. Larger ones may have been given since, and
    /// lost.
    pub fn is_of_earlier_term(&self, fence: Fence) -> bool {
        fence.0 <= self.floor
    }

    /// The largest number that was given, observed or leapt to. The next fence is above it. `None` if there is none
    /// yet.
    pub fn last(&self) -> Option<Fence> {
        Fence::new(self.last)
    }

    /// Whether this data set has ever seen a grant. If not, the clock need not be saved with it.
    pub fn has_granted(&self) -> bool {
        self.granted
    }

    /// The number to save with the data set: the largest one, or 0 if there never was a grant.
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
    fn a_leap_ends_above_every_fence_that_an_unknown_predecessor_gave() {
        let (mut old, mut new) = (FenceClock::new(), FenceClock::new());
        old.leap(UnixMicros(0));
        let given = (0..1000).map(|_| old.next(UnixMicros(1))).max().unwrap();
        new.leap(UnixMicros(2000));
        assert!(new.next(UnixMicros(2000)) > given);
    }

    #[test]
    fn fences_that_were_given_before_a_leap_are_of_an_earlier_term() {
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
