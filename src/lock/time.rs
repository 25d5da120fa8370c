//! Moments and lengths of time. The rules never read a clock: time is always an argument.

use std::ops::Add;

/// A length of time in whole milliseconds, such as that of a lease or a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Millis(pub u64);

/// A moment on the server's steady (monotonic) clock, in microseconds.
///
/// Its zero has no meaning outside this process, so times are saved and replicated as unix time. It is signed, because
/// a hold that was read from a file may have begun before the zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Steady(pub i64);

impl Steady {
    /// The time from this moment to a later one, rounded up; 0 if the other is not later.
    pub fn until(self, later: Steady) -> Millis {
        Millis(u64::try_from(later.0.saturating_sub(self.0)).unwrap_or(0).div_ceil(1000))
    }
}

impl Add<Millis> for Steady {
    type Output = Steady;

    /// The moment that much later, or the last moment of the clock if it is beyond the clock's range.
    fn add(self, length: Millis) -> Steady {
        let us = i64::try_from(length.0.saturating_mul(1000)).unwrap_or(i64::MAX);
        Steady(self.0.saturating_add(us))
    }
}

/// Wall-clock time: microseconds since 1970-01-01 UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnixMicros(pub u64);

/// One reading of both clocks. It is taken once for each step, so that time stands still within a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// The monotonic clock, for leases and waits.
    pub steady: Steady,
    /// The wall clock, for fences and for the stored form of leases.
    pub unix: UnixMicros,
}
