//! Input that means harm: bad arguments, made-up payloads, damaged files, untrusted clients and internal panics.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod bad_input;
mod damaged_files;
mod panics;
mod payload;
mod payloads;
mod payloads_shared;
mod untrusted_client;
