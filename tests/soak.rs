//! Random clients and failures against real servers; see `tests/soak` for the rules.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::time::Duration;

use soak::{run, Plan, Tally};

fn from_env(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// `SOAK_SECONDS` for each of `SOAK_SEEDS` seeds from `SOAK_SEED` on.
#[test]
fn what_clients_see_under_failures_is_what_the_contract_allows() {
    let (first, seeds) = (from_env("SOAK_SEED", 1), from_env("SOAK_SEEDS", 3));
    let length = Duration::from_secs(from_env("SOAK_SECONDS", 7));
    let mut total = Tally::default();
    for seed in first..first + seeds {
        println!("seed {seed}");
        let outcome = run(&Plan::of_seed(seed, length));
        assert!(
            outcome.violations.is_empty(),
            "seed {seed} (make soak SECONDS={} SEED={seed}):\n{}\n\nThe end of the history (all of it in {:?}):\n{}",
            length.as_secs(),
            outcome.violations.join("\n"),
            outcome.file,
            outcome.tail
        );
        println!("seed {seed}: {:?}", outcome.tally);
        total.add(outcome.tally);
    }
    println!("all: {total:?}");
}
