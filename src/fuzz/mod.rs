//! The targets of the fuzzer. A target takes any bytes, and panics if the module breaks a promise.
//!
//! The fuzzer itself is in the folder `fuzz`, and docs/testing.md explains how to run it. The targets are here, so that
//! the unit tests can replay the inputs that the fuzzer found.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod arguments;
mod choices;
#[cfg(test)]
mod corpus;
#[cfg(test)]
mod faults;
mod stored;

pub use crate::engine::tests::program::run as engine;
pub use crate::engine::tests::stream::apply as effects;
pub use crate::lock::tests::program::run as rules;
pub use arguments::parse as arguments;
pub use choices::Choices;
pub use stored::decode as stored;

use crate::lock::{Hold, Holders, Millis, Mode, Now, Origin, Steady, UnixMicros};
use crate::wire::LEASE_MAX_MS;

/// A function that takes any bytes, and panics if a promise does not hold.
pub type Target = fn(&[u8]);

/// Every target, with its name. Its corpus is in the folder of that name in `fuzz/corpus`.
pub const TARGETS: [(&str, Target); 5] =
    [("arguments", arguments), ("stored", stored), ("effects", effects), ("engine", engine), ("rules", rules)];

/// The time at which the targets begin. The wall clock shows a moment in the year 2027.
pub const NOW: Now = Now { steady: Steady(5_000_000), unix: UnixMicros(1_800_000_000_000_000) };

/// Panics unless a lock can have these holds, and every way to look a hold up finds it.
pub fn assert_sound(holders: &Holders, now: Now) {
    let holds: Vec<(Mode, &Hold)> = holders.iter().collect();
    assert_eq!(holders.len(), holds.len());
    let is_alone = holds.iter().any(|(mode, _)| *mode == Mode::Exclusive);
    assert!(!is_alone || holds.len() == 1, "an exclusive hold beside others");
    assert!(holds.is_sorted_by_key(|(_, hold)| hold.fence), "holds are not in the order of their fences");
    assert_eq!(holders.first_expiry(), holds.iter().map(|(_, hold)| hold.expires_at).min());
    assert_eq!(
        holders.count_running(now.steady),
        holds.iter().filter(|(_, hold)| !hold.is_expired(now.steady)).count()
    );
    for (mode, hold) in holds {
        let (id, found_mode, found) = holders.of(hold.owner.borrow()).expect("every hold is found by its owner");
        assert_eq!((found_mode, found), (mode, hold), "an owner has two holds");
        assert_eq!(holders.get(id), Some((mode, hold)), "a hold is not found by its id");
        let lease = hold.terms.lease();
        assert!((1..=LEASE_MAX_MS).contains(&lease.0), "{lease:?}");
        assert!(hold.expires_at <= now.steady + lease, "more time is left than the lease: {hold:?}");
    }
}

/// Panics unless this hold is inherited, and has no connection and no user: those of another process mean nothing here.
pub fn assert_inherited(hold: &Hold) {
    assert_eq!((hold.terms.origin(), hold.session, hold.terms.user()), (Origin::Inherited, None, None));
}

/// A length of time after which every lease and every wait of the targets has ended.
pub const ALL_OVER: Millis = Millis(LEASE_MAX_MS + 1);
