//! The barrier that no panic passes. Unwinding into Redis would abort the server, and everybody's data with it.

use std::panic::{catch_unwind, AssertUnwindSafe};

use super::log::{log, Level};

/// Runs the body of a callback. If it panics, the panic is logged and `otherwise` is returned. `what` names the work in the
/// log line.
///
/// Unwinding gives back what the body had borrowed, and the rules change a lock only in steps that do not panic.
pub fn guard<R>(what: &str, otherwise: R, body: impl FnOnce() -> R) -> R {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|_| {
        log(Level::Warning, &format!("a panic in {what} was caught; please report it with the line before this one"));
        otherwise
    })
}

/// Sends the text of panics to the server's log instead of its standard error.
pub fn install_panic_log() {
    std::panic::set_hook(Box::new(|panic| log(Level::Warning, &format!("{panic}").replace('\n', " "))));
}
