//! What survives a restart: RDB and AOF files, also those of earlier releases, and servers that are loading.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod golden_files;
mod loading;
mod restarts;
mod start_quarantine;
mod upgrade;
