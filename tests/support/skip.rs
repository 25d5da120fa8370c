//! What a server cannot do is said and not passed over: a test that is skipped there leaves its name and the reason.

use std::fmt::Display;
use std::fs::OpenOptions;
use std::io::{stderr, Write};

/// Says that the running test is skipped, and why: `skipped: <test>: <reason>`. The test then returns.
///
/// The line is seen although the test passes, and is added to the file that `REDIS_LOCK_SKIPS` names. Call it in the
/// test's own thread, which bears its name.
pub fn skip(reason: impl Display) {
    let thread = std::thread::current();
    let line = format!("skipped: {}: {reason}\n", thread.name().unwrap_or("a test"));
    // The capture of a passing test's output reaches the printing macros only.
    stderr().write_all(line.as_bytes()).unwrap();
    if let Some(path) = std::env::var_os("REDIS_LOCK_SKIPS") {
        // One write in append mode: lines of tests that run side by side stay whole.
        let mut file = OpenOptions::new().create(true).append(true).open(path).unwrap();
        file.write_all(line.as_bytes()).unwrap();
    }
}
