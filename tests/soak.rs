//! Random clients and failures against real servers; see `tests/soak` for the rules.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::time::Duration;

use soak::{chaos, run, Plan, Tally};

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

/// `SOAK_SECONDS` for each of `SOAK_SEEDS` seeds from `SOAK_SEED` on, or the steps in the file that `SOAK_PLAN` names.
#[test]
fn servers_and_clients_agree_at_rest_whatever_was_done_to_them() {
    if let Some(file) = std::env::var_os("SOAK_PLAN") {
        let wrong = chaos::replay(&std::fs::read_to_string(file).unwrap());
        return assert_eq!(wrong, None);
    }
    let (first, seeds) = (from_env("SOAK_SEED", 1), from_env("SOAK_SEEDS", 3));
    let length = Duration::from_secs(from_env("SOAK_SECONDS", 7));
    for seed in first..first + seeds {
        println!("seed {seed}");
        let outcome = chaos::run(seed, length);
        println!("seed {seed}: {} steps, {} grants", outcome.steps, outcome.grants);
        if let Some(violation) = outcome.violation {
            panic!(
                "seed {seed} (make soak SECONDS={} SEED={seed}): {}\n\nThe steps (SOAK_PLAN={}):\n{}",
                length.as_secs(),
                violation.what,
                violation.file.display(),
                violation.steps
            );
        }
    }
}
