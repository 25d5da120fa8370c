//! -DEADLOCK: which requests are refused because they would wait for themselves, and which never are.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod bounds;
mod cycles;
mod false_alarms;
mod liveness;

use support::Client;

/// LOCK.ACQUIRE without limit of time, and these options.
fn asking<'a>(key: &'a str, owner: &'a str, options: &[&'a str]) -> Vec<&'a str> {
    [&["LOCK.ACQUIRE", key, owner, "PX", "600000", "BLOCK", "0"], options].concat()
}

/// Asks for the lock and waits, which must be refused as a deadlock: the text.
#[track_caller]
fn refused(client: &mut Client, key: &str, owner: &str, options: &[&str]) -> String {
    let answer = client.cmd(&asking(key, owner, options));
    let text = answer.err_text();
    assert!(text.starts_with("DEADLOCK "), "{text}");
    text.to_owned()
}
