//! What a primary sends and what a replica may do: roles, effects, and promotions.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod effects;
mod propagation;
mod roles;
mod shared;
