//! What the fuzzer runs: each target takes any bytes, and panics when a promise does not hold.
//!
//! The fuzzer itself is in the folder fuzz/, and docs/testing.md tells how to run it. Here is what is tried, so that the
//! unit tests can replay the inputs which it found.

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

/// A target: any bytes.
pub type Target = fn(&[u8]);

/// Every target by the name of its folder in fuzz/corpus.
pub const TARGETS: [(&str, Target); 5] =
    [("arguments", arguments), ("stored", stored), ("effects", effects), ("engine", engine), ("rules", rules)];

/// Some time in the year 2027.
pub const NOW: Now = Now { steady: Steady(5_000_000), unix: UnixMicros(1_800_000_000_000_000) };

/// Panics unless these holds could be those of a lock, and are found by every question that can be asked.
pub fn assert_sound(holders: &Holders, now: Now) {
    let holds: Vec<(Mode, &Hold)> = holders.iter().collect();
    assert_eq!(holders.len(), holds.len());
    let is_alone = holds.iter().any(|(mode, _)| *mode == Mode::Exclusive);
    assert!(!is_alone || holds.len() == 1, "one holds alone, and others beside");
    assert!(holds.is_sorted_by_key(|(_, hold)| hold.fence), "by fence");
    assert_eq!(holders.first_expiry(), holds.iter().map(|(_, hold)| hold.expires_at).min());
    assert_eq!(
        holders.count_running(now.steady),
        holds.iter().filter(|(_, hold)| !hold.is_expired(now.steady)).count()
    );
    for (mode, hold) in holds {
        let (id, found_mode, found) = holders.of(hold.owner.borrow()).expect("every owner is found");
        assert_eq!((found_mode, found), (mode, hold), "each owner holds once");
        assert_eq!(holders.get(id), Some((mode, hold)), "every hold is found by its name");
        assert!((1..=LEASE_MAX_MS).contains(&hold.lease.0), "{:?}", hold.lease);
        assert!(hold.expires_at <= now.steady + hold.lease, "more is left than the lease: {hold:?}");
    }
}

/// Panics unless this hold knows nothing of another process: its connections, its users.
pub fn assert_inherited(hold: &Hold) {
    assert_eq!((hold.origin, hold.session, hold.user), (Origin::Inherited, None, None));
}

/// Longer than any lease and any wait of the targets.
pub const ALL_OVER: Millis = Millis(LEASE_MAX_MS + 1);
