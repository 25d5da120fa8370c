//! The counters of INFO since the start of the server, and how long waits and holds took.

use crate::lock::{Effect, End, HoldChange, Now, Steady};

/// The counters of this server since it started.
#[derive(Debug, Default)]
pub struct Stats {
    /// Grants to requests that found the lock free for them.
    pub grants_at_once: u64,
    /// Grants to requests that waited.
    pub grants_after_waiting: u64,
    /// Requests that were answered null at once because the lock was taken.
    pub refusals: u64,
    /// Waits that ran out.
    pub wait_timeouts: u64,
    /// Waits that were withdrawn by LOCK.RELEASE.
    pub waits_withdrawn: u64,
    /// Waits whose connection closed, or that CLIENT UNBLOCK ended.
    pub waits_abandoned: u64,
    /// Waits whose user might not acquire the lock any more when they came first.
    pub waits_denied: u64,
    /// Waits in a cluster that were redirected: the key left this server, or the cluster was down.
    pub waits_redirected: u64,
    /// Holds that their owners released.
    pub releases: u64,
    /// Exclusive holds that became shared ones.
    pub downgrades: u64,
    /// Holds that were extended, counted at each extension.
    pub extensions: u64,
    /// Holds whose lease ran out.
    pub lease_ends: u64,
    /// Holds that ended with their connection.
    pub session_ends: u64,
    /// Holds that were revoked because no answer with them could be delivered.
    pub undelivered_grants: u64,
    /// Locks that were cooling after a hold.
    pub coolings: u64,
    /// Locks that left this server of a cluster with their slot.
    pub moved_away: u64,
    /// Requests that were refused because waiting would have closed a cycle.
    pub deadlocks_refused: u64,
    /// How long requests waited that were granted after waiting.
    pub wait: Durations,
    /// How long holds lasted that have ended.
    pub hold: Durations,
}

impl Stats {
    /// Counts one effect of a step.
    #[inline]
    pub fn count(&mut self, effect: &Effect, now: Now) {
        match effect {
            Effect::Granted(_, None) => self.grants_at_once += 1,
            Effect::Granted(_, Some(since)) => {
                self.grants_after_waiting += 1;
                self.wait.record(*since, now.steady);
            }
            Effect::Changed(_, HoldChange::Reacquired)
            | Effect::Rebound(..)
            | Effect::Expired(_)
            | Effect::Cooled
            | Effect::Ready(_)
            | Effect::Answer(..) => {}
            Effect::Cools => self.coolings += 1,
            Effect::Changed(_, HoldChange::Extended) => self.extensions += 1,
            Effect::Changed(_, HoldChange::Downgraded) => self.downgrades += 1,
            Effect::Ended(hold, why) => {
                self.hold.record(hold.since, now.steady);
                match why {
                    End::Released => self.releases += 1,
                    End::Expired => self.lease_ends += 1,
                    End::Closed => self.session_ends += 1,
                    End::Undelivered => self.undelivered_grants += 1,
                }
            }
        }
    }
}

/// The number of bits after the highest one that select the bucket of a length. Lengths in one bucket differ by at most 1/8.
const PRECISION_BITS: u32 = 3;
const BUCKETS_PER_OCTAVE: usize = 1 << PRECISION_BITS;
/// The histogram goes up to 2^46 us, more than two years. Longer times count as that.
const OCTAVES: usize = 46;

/// Lengths of time, as a histogram of fixed size whose buckets grow with the lengths in them.
#[derive(Debug)]
pub struct Durations {
    buckets: Box<[u64]>,
    count: u64,
    max_us: u64,
}

impl Default for Durations {
    fn default() -> Durations {
        Durations { buckets: vec![0; OCTAVES * BUCKETS_PER_OCTAVE].into(), count: 0, max_us: 0 }
    }
}

impl Durations {
    /// Counts the time from one moment to another.
    fn record(&mut self, from: Steady, to: Steady) {
        let us = u64::try_from(to.0.saturating_sub(from.0)).unwrap_or(0);
        self.max_us = self.max_us.max(us);
        self.count += 1;
        let last = self.buckets.len() - 1;
        if let Some(bucket) = self.buckets.get_mut(bucket(us).min(last)) {
            *bucket += 1;
        }
    }

    /// The longest time, in microseconds; 0 if none was counted.
    pub fn max_us(&self) -> u64 {
        self.max_us
    }

    /// The time in microseconds that this many percent of all did not exceed; 0 if none was counted. Because of the buckets it
    /// is up to an eighth too long.
    pub fn percentile_us(&self, percent: u64) -> u64 {
        let rank = (self.count * percent).div_ceil(100).max(1);
        let mut seen = 0;
        for (n, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return longest_in(n).min(self.max_us);
            }
        }
        self.max_us
    }
}

/// The bucket of a length: its highest bit, and the [`PRECISION_BITS`] after it. Short lengths have a bucket each.
fn bucket(us: u64) -> usize {
    let octave = us.checked_ilog2().unwrap_or(0).saturating_sub(PRECISION_BITS);
    octave as usize * BUCKETS_PER_OCTAVE + (us >> octave) as usize
}

/// The longest length in a bucket.
fn longest_in(bucket: usize) -> u64 {
    let octave = (bucket / BUCKETS_PER_OCTAVE).saturating_sub(1);
    let first = (bucket - octave * BUCKETS_PER_OCTAVE) as u64;
    ((first + 1) << octave) - 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn percentiles_are_at_most_an_eighth_too_long(mut lengths in prop::collection::vec(0..1u64 << 40, 1..200), percent in 1..=100u64) {
            let mut durations = Durations::default();
            for length in &lengths {
                durations.record(Steady(5), Steady(5 + *length as i64));
            }
            lengths.sort_unstable();
            let exact = lengths[((lengths.len() as u64 * percent).div_ceil(100) - 1) as usize];
            let told = durations.percentile_us(percent);
            prop_assert!(exact <= told && told <= exact + exact / 8, "{} told as {}", exact, told);
            prop_assert_eq!(durations.max_us(), *lengths.last().unwrap());
        }
    }

    #[test]
    fn no_length_is_too_long_or_negative() {
        let mut durations = Durations::default();
        assert_eq!((durations.percentile_us(99), durations.max_us()), (0, 0));
        durations.record(Steady(7), Steady(0));
        assert_eq!(durations.percentile_us(50), 0);
        durations.record(Steady(i64::MIN), Steady(i64::MAX));
        assert_eq!(durations.max_us(), i64::MAX as u64);
    }
}
