//! What operators set: ACL rules, settings, limits, and the servers that the module loads on.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod acl;
mod every_server;
mod limits;
mod settings;
