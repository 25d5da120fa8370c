//! What the lock commands promise: exclusion, shared holders, limits, and what each answer means.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod check;
mod check_tracking;
mod commands;
mod cooling;
mod counted;
mod downgrade;
mod exclusion;
mod guarded_writes;
mod many_shared_holders;
mod max_hold;
mod quorum;
mod reacquire;
mod shared;
mod weight;
