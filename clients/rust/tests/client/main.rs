//! The tests of the client, over real servers. They are one program, so that they run side by side.
//!
//! | module | owns |
//! |---|---|
//! | `acquire` | grants, waits, modes, connections and errors |
//! | `cluster_routing` | how cluster clients find the keys of LOCK.* commands |
//! | `connections` | how many connections the client opens |
//! | `examples` | the examples |
//! | `failover` | Sentinel and Cluster |
//! | `ghosts` | nothing is left behind |
//! | `guard` | guards: clones, renewal, loss |
//! | `hung_primary` | primaries that hang |
//! | `leader` | elections |
//! | `lost_replies` | replies that are lost or late |
//! | `memory` | locks in memory |
//! | `modes` | all that the server has beyond an exclusive lock |
//! | `owners` | names of owners, and owners of several locks |
//! | `permissions` | users, passwords and databases |
//! | `quorum` | quorums |
//! | `quorum_history` | histories of quorums whose servers fail |
//! | `simulation` | random clients in random trouble, by a clock that a test controls |
//! | `stall` | stalls of the server |
//! | `withdrawal` | requests and guards that are dropped |
//! | `common` | what they share |

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

mod acquire;
mod cluster_routing;
mod connections;
mod examples;
mod failover;
mod ghosts;
mod guard;
mod hung_primary;
mod leader;
mod lost_replies;
mod memory;
mod modes;
mod owners;
mod permissions;
mod quorum;
mod quorum_history;
mod simulation;
mod stall;
mod withdrawal;
