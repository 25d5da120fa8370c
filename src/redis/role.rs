//! Whether this server decides, or follows a primary that does.
//!
//! The server tells of every change in the middle of the command that makes it, so that each later command sees it. Asking
//! with every command would cost more than the rest of what a command asks.

use std::cell::Cell;

use super::state::MainThread;

static IS_REPLICA: MainThread<Cell<bool>> = MainThread::new(Cell::new(false));

/// Takes note of the role, at load and at every change.
pub fn set(is_replica: bool) {
    IS_REPLICA.get().set(is_replica);
}

/// Whether this server follows a primary.
pub fn is_replica() -> bool {
    IS_REPLICA.get().get()
}
