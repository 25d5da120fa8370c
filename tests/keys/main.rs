//! A lock is a key: what operators, eviction, TTLs, WATCH and CLIENT TRACKING do to it, and its keyspace events.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod keyspace_events;
mod lifecycle;
mod native_ttl;
mod operator_commands;
mod operator_commands_combined;
mod operator_commands_shared;
mod watch_shared;
