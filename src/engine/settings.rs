//! The settings of the module.

use crate::lock::Millis;
use crate::wire::{Leases, LEASE_MAX_MS};

/// A setting: its name after `redislock.`, its default, and its range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The name after `redislock.`.
    pub name: &'static str,
    /// The value unless it is set.
    pub default: i64,
    /// The smallest value.
    pub min: i64,
    /// The largest value.
    pub max: i64,
}

const LEASE_MAX: i64 = LEASE_MAX_MS as i64;

/// The lease of a request that names none, in milliseconds.
pub const DEFAULT_LEASE: Setting = Setting { name: "default-lease", default: 30_000, min: 1, max: LEASE_MAX };
/// The longest lease that a request may ask for, in milliseconds.
pub const MAX_LEASE: Setting = Setting { name: "max-lease", default: LEASE_MAX, min: 1, max: LEASE_MAX };
/// The longest that a hold may last, however often it is extended, in milliseconds; 0 means no bound.
pub const MAX_HOLD: Setting = Setting { name: "max-hold", default: 0, min: 0, max: LEASE_MAX };
/// How long after its start the server grants nothing, in milliseconds.
pub const START_QUARANTINE: Setting = Setting { name: "start-quarantine", default: 0, min: 0, max: LEASE_MAX };
/// The largest number of owners that hold one lock together.
pub const MAX_HOLDERS: Setting = Setting { name: "max-holders", default: 10_000, min: 1, max: 1_000_000 };
/// The largest number of clients that wait for one lock.
pub const MAX_WAITERS: Setting = Setting { name: "max-waiters", default: 10_000, min: 1, max: 1_000_000 };
/// The largest number of clients that wait for all locks together.
pub const MAX_WAITERS_TOTAL: Setting = Setting { name: "max-waiters-total", default: 100_000, min: 1, max: 10_000_000 };
/// The number of edges that the search for a deadlock follows before it gives up and the client waits; 0 means no search.
pub const DEADLOCK_SEARCH_MAX: Setting = Setting { name: "deadlock-search-max", default: 1000, min: 0, max: 1_000_000 };

/// All settings, in the order of [`Settings`].
pub const SETTINGS: [Setting; 8] = [
    DEFAULT_LEASE,
    MAX_LEASE,
    MAX_HOLDERS,
    MAX_WAITERS,
    MAX_WAITERS_TOTAL,
    DEADLOCK_SEARCH_MAX,
    MAX_HOLD,
    START_QUARANTINE,
];

/// The value of every setting, within its range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings([i64; SETTINGS.len()]);

impl Settings {
    /// All settings at their defaults.
    pub const fn new() -> Settings {
        Settings([
            DEFAULT_LEASE.default,
            MAX_LEASE.default,
            MAX_HOLDERS.default,
            MAX_WAITERS.default,
            MAX_WAITERS_TOTAL.default,
            DEADLOCK_SEARCH_MAX.default,
            MAX_HOLD.default,
            START_QUARANTINE.default,
        ])
    }

    /// The value of the setting at this place in [`SETTINGS`]; `None` beyond the last.
    pub fn value(&self, place: usize) -> Option<i64> {
        self.0.get(place).copied()
    }

    /// Sets the setting at this place in [`SETTINGS`]. The caller has checked the range.
    pub fn set(&mut self, place: usize, value: i64) {
        if let Some(slot) = self.0.get_mut(place) {
            *slot = value;
        }
    }

    /// The default and the longest lease that a request may ask for.
    pub fn leases(&self) -> Leases {
        let [default, max, ..] = self.0;
        let max = Millis(max.unsigned_abs());
        Leases { default: Millis(default.unsigned_abs()).min(max), max }
    }

    /// The value of [`MAX_HOLDERS`].
    pub fn holders_max(&self) -> usize {
        let [_, _, max, ..] = self.0;
        count(max)
    }

    /// The value of [`MAX_WAITERS`].
    pub fn waiters_max(&self) -> usize {
        let [_, _, _, max, ..] = self.0;
        count(max)
    }

    /// The value of [`MAX_WAITERS_TOTAL`].
    pub fn waiters_total_max(&self) -> usize {
        let [_, _, _, _, max, ..] = self.0;
        count(max)
    }

    /// The value of [`DEADLOCK_SEARCH_MAX`].
    pub fn deadlock_search_max(&self) -> usize {
        let [_, _, _, _, _, max, ..] = self.0;
        count(max)
    }
}

impl Settings {
    /// The value of [`START_QUARANTINE`].
    pub fn start_quarantine(&self) -> Millis {
        let [.., length] = self.0;
        Millis(length.unsigned_abs())
    }

    /// The longest that a hold may last that asks for this MAX, by the value of [`MAX_HOLD`].
    pub fn max_hold(&self, asked: Option<Millis>) -> Option<Millis> {
        let [.., max_hold, _] = self.0;
        let bound = (max_hold > 0).then_some(Millis(max_hold.unsigned_abs()));
        [asked, bound].into_iter().flatten().min()
    }
}

fn count(value: i64) -> usize {
    usize::try_from(value).unwrap_or(0)
}
