//! The module's own sources, without its edge to Redis, for the fuzzer.

// They are tested where they live; here only a part of them is used.
#![allow(dead_code, unused_imports, unused_macros)]

#[path = "../../src/engine/mod.rs"]
mod engine;
#[path = "../../src/fuzz/mod.rs"]
pub mod fuzz;
#[path = "../../src/lock/mod.rs"]
mod lock;
#[path = "../../src/failpoints.rs"]
mod failpoints;
#[path = "../../src/wire/mod.rs"]
mod wire;

mod proportion;

pub use proportion::in_proportion;
