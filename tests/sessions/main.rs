//! SESSION: a hold that ends with its connection, and what becomes of it when the server changes its state.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod binding;
mod closing;
mod mass;
mod roles;
mod unwritable_server;
