//! What a step came to.

use std::time::Duration;

use support::poll;

/// A value, or what went wrong in words for the report.
pub type Outcome<T> = Result<T, String>;

/// An outcome that failed.
pub fn fail<T>(what: impl Into<String>) -> Outcome<T> {
    Err(what.into())
}

/// Fails with these words unless `condition` is true.
pub fn ensure(condition: bool, what: impl FnOnce() -> String) -> Outcome<()> {
    if condition {
        Ok(())
    } else {
        Err(what())
    }
}

/// Polls until `look` succeeds, for this time at most. Returns its last failure.
pub fn until(within: Duration, mut look: impl FnMut() -> Outcome<()>) -> Outcome<()> {
    let mut last = Ok(());
    let done = poll(within, || {
        last = look();
        last.is_ok().then_some(())
    });
    done.map_or(last, Ok)
}
