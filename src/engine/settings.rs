//! What an operator may set.

use crate::lock::Millis;
use crate::wire::{Leases, LEASE_MAX_MS};

/// A setting: its name behind `redislock.`, and the values it may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The name.
    pub name: &'static str,
    /// What it is unless it is set.
    pub default: i64,
    /// The smallest value.
    pub min: i64,
    /// The largest value.
    pub max: i64,
}

const LEASE_MAX: i64 = LEASE_MAX_MS as i64;

/// The lease of a request that names none, in milliseconds.
pub const DEFAULT_LEASE: Setting = Setting { name: "default-lease", default: 30_000, min: 1, max: LEASE_MAX };
/// The longest lease that may be asked for, in milliseconds.
pub const MAX_LEASE: Setting = Setting { name: "max-lease", default: LEASE_MAX, min: 1, max: LEASE_MAX };
/// The most owners that hold one lock together.
pub const MAX_HOLDERS: Setting = Setting { name: "max-holders", default: 10_000, min: 1, max: 1_000_000 };
/// The most clients that wait for one lock.
pub const MAX_WAITERS: Setting = Setting { name: "max-waiters", default: 10_000, min: 1, max: 1_000_000 };
/// The most clients that wait for all locks together.
pub const MAX_WAITERS_TOTAL: Setting = Setting { name: "max-waiters-total", default: 100_000, min: 1, max: 10_000_000 };
/// How many edges the search for a deadlock follows before it gives up and lets the client wait; 0: none.
pub const DEADLOCK_SEARCH_MAX: Setting = Setting { name: "deadlock-search-max", default: 1000, min: 0, max: 1_000_000 };

/// All settings, in the order of [`Settings`].
pub const SETTINGS: [Setting; 6] =
    [DEFAULT_LEASE, MAX_LEASE, MAX_HOLDERS, MAX_WAITERS, MAX_WAITERS_TOTAL, DEADLOCK_SEARCH_MAX];

/// The value of every setting, within its range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings([i64; SETTINGS.len()]);

impl Settings {
    /// The defaults.
    pub const fn new() -> Settings {
        Settings([
            DEFAULT_LEASE.default,
            MAX_LEASE.default,
            MAX_HOLDERS.default,
            MAX_WAITERS.default,
            MAX_WAITERS_TOTAL.default,
            DEADLOCK_SEARCH_MAX.default,
        ])
    }

    /// The value of the setting at this place in [`SETTINGS`].
    pub fn value(&self, place: usize) -> Option<i64> {
        self.0.get(place).copied()
    }

    /// Sets it; the value is within its range.
    pub fn set(&mut self, place: usize, value: i64) {
        if let Some(slot) = self.0.get_mut(place) {
            *slot = value;
        }
    }

    /// Which leases may be asked for.
    pub fn leases(&self) -> Leases {
        let [default, max, ..] = self.0;
        let max = Millis(max.unsigned_abs());
        Leases { default: Millis(default.unsigned_abs()).min(max), max }
    }

    /// See [`MAX_HOLDERS`].
    pub fn holders_max(&self) -> usize {
        let [_, _, max, ..] = self.0;
        count(max)
    }

    /// See [`MAX_WAITERS`].
    pub fn waiters_max(&self) -> usize {
        let [_, _, _, max, ..] = self.0;
        count(max)
    }

    /// See [`MAX_WAITERS_TOTAL`].
    pub fn waiters_total_max(&self) -> usize {
        let [_, _, _, _, max, _] = self.0;
        count(max)
    }

    /// See [`DEADLOCK_SEARCH_MAX`].
    pub fn deadlock_search_max(&self) -> usize {
        let [_, _, _, _, _, max] = self.0;
        count(max)
    }
}

fn count(value: i64) -> usize {
    usize::try_from(value).unwrap_or(0)
}
