//! The checker is itself checked: each fault that can be planted in the module is found.
//!
//! A fault is a row in `src/planted.rs` and a row here: which test finds it. `make planted-faults` prints how fast.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::time::{Duration, Instant};

use soak::{run, Failure, Plan};
use support::Server;

/// Who finds a fault.
enum Finder {
    /// The soak, with the plan of some seed.
    Soak,
    /// The soak, with seeds that have a replica which takes over.
    SoakWithReplica,
    /// The soak, with seeds whose wall clock is set.
    SoakWithClock,
}

use Finder::{Soak, SoakWithClock, SoakWithReplica};

const FINDERS: [(&str, Finder); 22] = [
    ("grant-out-of-order", Soak),
    ("newcomer-passes", Soak),
    ("fence-not-raised", Soak),
    ("fence-not-leapt", SoakWithReplica),
    ("new-fence-when-asked-again", Soak),
    ("waiter-stays", Soak),
    ("undelivered-grant-kept", Soak),
    ("release-by-anyone", Soak),
    ("release-ignores-fence", Soak),
    ("lease-ends-early", Soak),
    ("lease-ends-late", Soak),
    ("lease-by-wall-clock", SoakWithClock),
    ("release-not-replicated", Soak),
    ("extension-not-replicated", Soak),
    ("limit-off-by-one", Soak),
    ("removal-unnoticed", Soak),
    ("writer-beside-reader", Soak),
    ("release-leaves-waits", Soak),
    ("extension-adds-up", Soak),
    ("downgrade-lets-nobody-in", Soak),
    ("old-session-ends-hold", Soak),
    ("session-outlives-connection", Soak),
];

/// How long a seed is tried, and how many are.
const LENGTH: Duration = Duration::from_secs(4);
const SEEDS: u64 = 30;

#[test]
fn each_planted_fault_has_a_test_that_finds_it() {
    let server = Server::builder().faulty_module().start();
    let planted: Vec<String> = server.cmd(&["LOCK.__FAULT", "list"]).array().iter().map(|name| name.text()).collect();
    let found: Vec<&str> = FINDERS.iter().map(|(name, _)| *name).collect();
    assert_eq!(planted, found);
}

/// `PLANTED` names one of them; otherwise all are tried.
#[test]
#[ignore = "takes minutes: make planted-faults"]
fn each_planted_fault_is_found() {
    let only = std::env::var("PLANTED").ok();
    let mut missed = Vec::new();
    println!("| fault | found by | seconds | what is said |\n|---|---|---|---|");
    for (name, finder) in FINDERS.iter().filter(|(name, _)| only.as_ref().is_none_or(|only| only == name)) {
        let begin = Instant::now();
        match found(name, finder) {
            Some((seed, what)) => {
                let what: String = what.split(": operation").next().unwrap_or_default().chars().take(100).collect();
                println!("| `{name}` | soak, seed {seed} | {:.0} | {what} |", begin.elapsed().as_secs_f32());
            }
            None => missed.push(*name),
        }
    }
    assert!(missed.is_empty(), "not found: {missed:?}");
}

/// The first seed that finds it, and what it says.
fn found(name: &str, finder: &Finder) -> Option<(u64, String)> {
    let first = match finder {
        Soak => 0,
        SoakWithClock => 1,
        SoakWithReplica => 2,
    };
    let seeds = (0..SEEDS).map(|n| match finder {
        Soak => n,
        SoakWithClock | SoakWithReplica => first + 3 * n,
    });
    for seed in seeds {
        let mut plan = Plan::of_seed(seed, LENGTH);
        plan.planted = Some(name.to_owned());
        if let SoakWithClock = finder {
            plan.failures.extend([Failure::SetClock; 3]);
        }
        if let Some(what) = run(&plan).violations.into_iter().next() {
            return Some((seed, what));
        }
    }
    None
}
