//! -DEADLOCK: which requests are refused because they would wait for themselves, and which never are.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod bounds;
mod cycles;
mod false_alarms;
mod liveness;
