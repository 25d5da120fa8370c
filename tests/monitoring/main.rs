//! What operators see: LOCK.INFO, INFO redislock, COMMAND, and how locks look to the rest of Redis.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod counters;
mod counters_balance;
mod counters_of_ends;
mod info_command;
mod info_command_reads;
mod introspection;
mod listing;
mod top;
