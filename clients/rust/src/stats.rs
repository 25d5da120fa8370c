//! Counters of what a client has done.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What a client has done since it was created. All numbers only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Connections that were opened, to servers and Sentinels.
    pub connections_opened: u64,
    /// Attempts to open a connection that failed.
    pub connections_failed: u64,
    /// Acquisitions that were granted.
    pub acquired: u64,
    /// Acquisitions that ended with [`Error::NotAcquired`](crate::Error::NotAcquired).
    pub not_acquired: u64,
    /// Acquisitions that ended with another error.
    pub failed: u64,
    /// Acquisitions that the program gave up, by dropping the future.
    pub cancelled: u64,
    /// How long all granted acquisitions waited together.
    pub waited: Duration,
    /// How long all holds that have ended lasted together.
    pub held: Duration,
    /// Holds that the program released.
    pub released: u64,
    /// Holds that were lost.
    pub lost: u64,
    /// Renewals that succeeded.
    pub renewals: u64,
    /// Renewals that failed although the hold may still last.
    pub renewals_failed: u64,
    /// Commands that were sent again after a lost reply, a refused connection, or an error that ends by itself.
    pub retries: u64,
    /// How often the cluster's map or the Sentinels were asked where the locks are.
    pub lookups: u64,
}

/// One counter.
#[derive(Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub fn add_one(&self) {
        self.add(1);
    }

    pub fn add(&self, number: u64) {
        self.0.fetch_add(number, Ordering::Relaxed);
    }

    pub fn add_time(&self, duration: Duration) {
        self.add(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX));
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The counters of one client.
#[derive(Default)]
pub(crate) struct Counters {
    pub connections_opened: Counter,
    pub connections_failed: Counter,
    pub acquired: Counter,
    pub not_acquired: Counter,
    pub failed: Counter,
    pub cancelled: Counter,
    /// In microseconds.
    pub waited: Counter,
    /// In microseconds.
    pub held: Counter,
    pub released: Counter,
    pub lost: Counter,
    pub renewals: Counter,
    pub renewals_failed: Counter,
    pub retries: Counter,
    pub lookups: Counter,
}

impl Counters {
    pub fn snapshot(&self) -> Stats {
        Stats {
            connections_opened: self.connections_opened.get(),
            connections_failed: self.connections_failed.get(),
            acquired: self.acquired.get(),
            not_acquired: self.not_acquired.get(),
            failed: self.failed.get(),
            cancelled: self.cancelled.get(),
            waited: Duration::from_micros(self.waited.get()),
            held: Duration::from_micros(self.held.get()),
            released: self.released.get(),
            lost: self.lost.get(),
            renewals: self.renewals.get(),
            renewals_failed: self.renewals_failed.get(),
            retries: self.retries.get(),
            lookups: self.lookups.get(),
        }
    }
}
