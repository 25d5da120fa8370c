//! The names of the commands that only replication uses.

use std::ffi::CStr;

/// Replicates the state of one lock.
pub const APPLY: &CStr = c"LOCK.__APPLY";
/// Replicates the fence clock.
pub const FENCE: &CStr = c"LOCK.__FENCE";
