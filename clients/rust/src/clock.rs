//! The clock by which leases are reckoned. It goes on while the machine sleeps, as the clock of the server does.

use std::ops::Add;
use std::time::Duration;

#[cfg(feature = "memory")]
use tokio::time::Instant;

/// A moment of a [`Clock`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(Duration);

/// Tells the time since some moment in the past.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Clock {
    /// The time since the machine started, including the time for which it slept.
    Machine,
    /// The time of the tokio runtime since this moment, which tests can pause.
    #[cfg(feature = "memory")]
    Runtime(Instant),
}

impl Clock {
    pub fn now(self) -> Moment {
        match self {
            Clock::Machine => Moment(since_boot()),
            #[cfg(feature = "memory")]
            Clock::Runtime(start) => Moment(start.elapsed()),
        }
    }
}

impl Moment {
    /// How long this moment is after an earlier one; zero if it is not.
    pub fn since(self, earlier: Moment) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for Moment {
    type Output = Moment;

    fn add(self, duration: Duration) -> Moment {
        Moment(self.0.saturating_add(duration))
    }
}

#[cfg(unix)]
fn since_boot() -> Duration {
    use rustix::time::{clock_gettime, ClockId};

    // The monotonic clock of Linux stands still while the machine sleeps; that of Apple's systems goes on.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let clock = ClockId::Boottime;
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let clock = ClockId::Monotonic;
    let time = clock_gettime(clock);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// The performance counter of Windows goes on while the machine sleeps.
#[cfg(not(unix))]
fn since_boot() -> Duration {
    use std::sync::OnceLock;

    static START: OnceLock<std::time::Instant> = OnceLock::new();
    START.get_or_init(std::time::Instant::now).elapsed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clock_of_the_machine_goes_on() {
        let before = Clock::Machine.now();
        std::thread::sleep(Duration::from_millis(5));
        let passed = Clock::Machine.now().since(before);
        assert!(passed >= Duration::from_millis(5), "{passed:?}");
        assert_eq!(before.since(before + passed), Duration::ZERO);
    }
}
