//! Time, which is always an argument of the rules: they never read a clock.

use std::ops::Add;

/// A length of time in whole milliseconds: a lease, a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Millis(pub u64);

/// A moment on the server's steady (monotonic) clock, in microseconds.
///
/// Its zero means nothing and it does not outlive the process: what is saved or replicated is translated to unix time
/// at the edge. It is signed because a hold that came from a file may have begun before the clock's zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Steady(pub i64);

impl Add<Millis> for Steady {
    type Output = Steady;

    /// The moment that much later; a length beyond the clock's range ends at its far end.
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
