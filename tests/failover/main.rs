//! Sentinels replace a primary while clients use its locks: crashes, cut networks, and clocks that differ.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod clocks_apart;
mod partition;
mod sentinel;
