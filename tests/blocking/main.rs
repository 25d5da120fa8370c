//! Waiting clients: the order of the queue, time-outs, races with the server, and servers that cannot write.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod io_threads;
mod pipelines;
mod races;
mod shared_races;
mod shared_waiters;
mod unwritable_server;
mod waiting;
mod wall_clock;
mod withdrawn_rights;
