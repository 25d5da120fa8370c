//! The module's own sources without the folder `redis`, compiled for the fuzzer.

// Only a part of them is used here.
#![allow(dead_code, unused_imports, unused_macros)]

#[path = "../../src/engine/mod.rs"]
mod engine;
#[path = "../../src/failpoints.rs"]
mod failpoints;
#[path = "../../src/fuzz/mod.rs"]
pub mod fuzz;
#[path = "../../src/lock/mod.rs"]
mod lock;
#[path = "../../src/policy/mod.rs"]
mod policy;
#[path = "../../src/wire/mod.rs"]
mod wire;

mod memory;

pub use memory::with_memory_limit;
