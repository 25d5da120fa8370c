//! The tests are tested: each failpoint of the module is noticed by a test.
//!
//! A failpoint is a row in `src/failpoints.rs` and a row here, which names the test that notices it. `make failpoints` prints how fast.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::process::Command;
use std::time::{Duration, Instant};

use soak::{run, Failure, Plan};
use support::{faulty_module_path, Server};

/// Who finds a fault.
enum Finder {
    /// The soak, with the plan of some seed.
    Soak,
    /// The soak, with seeds that have a replica which takes over.
    SoakWithReplica,
    /// The soak, with seeds whose wall clock is set.
    SoakWithClock,
    /// A test of this file, which fails then. The soak sees no difference: what such a fault does, something else that it does
    /// may have done as well.
    Test(&'static str, &'static str),
}

use Finder::{Soak, SoakWithClock, SoakWithReplica, Test};

const FINDERS: [(&str, Finder); 30] = [
    ("grant-out-of-order", Soak),
    ("newcomer-passes", Soak),
    ("fence-not-raised", Soak),
    ("fence-not-leapt", SoakWithReplica),
    ("new-fence-when-reacquired", Soak),
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
    ("release-leaves-waits", Test("blocking", "waiting::release_withdraws_the_waits_of_its_owner_and_of_nobody_else")),
    ("extension-adds-up", Soak),
    (
        "downgrade-lets-nobody-in",
        Test("promises", "downgrade::downgrade_lets_the_readers_at_the_head_in_together_and_at_once"),
    ),
    ("old-session-ends-hold", Test("sessions", "binding::session_moves_to_the_connection_that_asked_last")),
    (
        "rights-not-asked",
        Test("blocking", "withdrawn_rights::waiter_without_the_right_is_answered_noperm_and_the_next_is_served"),
    ),
    ("max-ignored", Test("promises", "max_hold::extensions_and_repeated_requests_are_cut_down_to_max")),
    (
        "cooling-ignored",
        Test("promises", "cooling::lock_that_was_released_with_cool_is_granted_to_nobody_until_it_is_over"),
    ),
    ("delay-ignored", Test("promises", "cooling::hold_with_delay_cools_if_it_ends_otherwise_than_by_a_release")),
    (
        "quarantine-ignored",
        Test("persistence", "start_quarantine::nothing_is_granted_until_it_is_over_and_holds_go_on"),
    ),
    ("weight-ignored", Test("promises", "weight::holders_take_no_more_units_than_the_smallest_limit")),
    ("multi-key-granted-early", Test("multi_key", "waiting::request_is_granted_when_the_last_of_its_locks_is_free")),
    ("multi-key-stays-in-queues", Test("multi_key", "endings::every_end_of_a_wait_ends_it_in_all_queues")),
    ("session-outlives-connection", Soak),
];

/// How long a seed is tried, and how many are.
const LENGTH: Duration = Duration::from_secs(4);
const SEEDS: u64 = 30;

/// The first of some seeds, and the step to the next.
const ANY: (u64, u64) = (0, 1);
const WITH_CLOCK: (u64, u64) = (1, 3);
const WITH_REPLICA: (u64, u64) = (2, 3);

#[test]
fn each_failpoint_has_a_test_that_finds_it() {
    let server = Server::builder().faulty_module().start();
    let names: Vec<String> = server.cmd(&["LOCK.__FAILPOINT", "list"]).array().iter().map(|name| name.text()).collect();
    let found: Vec<&str> = FINDERS.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, found);
}

/// `FAILPOINT` names one of them; otherwise all are tried.
#[test]
#[ignore = "takes minutes: make failpoints"]
fn each_failpoint_is_found() {
    let only = std::env::var("FAILPOINT").ok();
    let mut missed = Vec::new();
    println!("| fault | found by | seconds | what is said |\n|---|---|---|---|");
    for (name, finder) in FINDERS.iter().filter(|(name, _)| only.as_ref().is_none_or(|only| only == name)) {
        let begin = Instant::now();
        let found = match finder {
            Soak => found_by_soak(name, ANY),
            SoakWithClock => found_by_soak(name, WITH_CLOCK),
            SoakWithReplica => found_by_soak(name, WITH_REPLICA),
            Test(file, test) => fails(name, file, test).then(|| format!("`{file}::{test}` | {{}} | it fails |")),
        };
        let seconds = format!("{:.0}", begin.elapsed().as_secs_f32());
        match found {
            Some(row) => println!("| `{name}` | {}", row.replacen("{}", &seconds, 1)),
            None => missed.push(*name),
        }
    }
    assert!(missed.is_empty(), "not found: {missed:?}");
}

/// Tries seeds from the first on: which one finds it, and what it says, as the rest of a row.
fn found_by_soak(name: &str, seeds: (u64, u64)) -> Option<String> {
    let (first, step) = seeds;
    for seed in (0..SEEDS).map(|n| first + step * n) {
        let mut plan = Plan::of_seed(seed, LENGTH);
        plan.failpoint = Some(name.to_owned());
        if seeds == WITH_CLOCK {
            plan.failures.extend([Failure::SetClock; 3]);
        }
        if let Some(what) = run(&plan).violations.into_iter().next() {
            let what: String = what.split(": operation").next().unwrap_or_default().chars().take(100).collect();
            return Some(format!("soak, seed {seed} | {{}} | {what} |"));
        }
    }
    None
}

/// Whether that test fails with the fault in the module.
fn fails(name: &str, file: &str, test: &str) -> bool {
    let output = Command::new(env!("CARGO"))
        .args(["test", "--locked", "--test", file, "--", "--exact", test])
        .env("REDIS_LOCK_MODULE", faulty_module_path())
        .env("REDIS_LOCK_FAILPOINT", name)
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout).contains("test result: FAILED. 0 passed; 1 failed")
}
