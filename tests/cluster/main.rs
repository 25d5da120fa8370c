//! Redis Cluster: routing, slots that move, failovers and cuts of the network.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod failover;
mod fences;
mod moving_slots;
mod partition;
mod resharding;
mod routing;
mod whole_slots;
