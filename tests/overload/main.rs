//! Thousands of clients, servers out of memory, and what the module leaves behind in memory.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod clients;
mod footprint;
mod maxmemory;
