//! The edge: everything `unsafe`, and nothing that decides.
//!
//! * [`api`]: the server's functions, each wrapped once; [`guard`]: no panic gets past here; [`state`]: the module's memory.
//! * [`module`]: what happens at load; [`commands`] and [`command_info`]: the table of commands and what COMMAND DOCS
//!   says of them; [`key`], [`server`], [`blocked`]: the engine's traits, done with Redis; [`listeners`]: whether
//!   anybody replicates from here.
//! * [`value`]: the data type; [`events`]: what else the server tells; [`alarm`]: the one timer.

#![allow(unsafe_code)]

mod alarm;
mod api;
mod blocked;
mod command_info;
mod commands;
mod events;
mod guard;
mod key;
mod listeners;
mod module;
mod server;
mod state;
mod value;

/// The server counts the module's memory as its own: in INFO memory, and against maxmemory. There is no server in unit
/// tests.
#[cfg(not(test))]
#[global_allocator]
static ALLOCATOR: redis_module::alloc::RedisAlloc = redis_module::alloc::RedisAlloc;
