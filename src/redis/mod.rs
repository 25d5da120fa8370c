//! The edge: what Redis calls, and what the engine asks of Redis.
//!
//! * [`ffi`]: the module API, made safe. Everything below builds on it; [`state`] is the module's memory.
//! * [`module`]: what happens at load; [`settings`] and [`info`]: CONFIG and INFO.
//! * [`commands`]: one file for each command; [`call`]: from arguments to reply; [`reply`]: replies that are more than one
//!   value; [`notify`]: keyspace events; [`caller`], [`users`] and [`modules`]: who runs a command.
//! * [`key`], [`server`], [`waiting_client`]: the engine's traits, implemented with Redis; [`blocked`] and [`delivery`]: what
//!   becomes of clients that wait, and of the answers to them.
//! * [`timer`]: the one timer; [`tick`]: what happens when it rings.
//! * [`value_type`] and [`value`]: the data type; [`key_events`] and [`removals`]: locks that others move or remove.
//! * [`events`]: what else the server tells; [`propagation`]: whether anybody listens to what is replicated; [`migration`] and
//!   [`cluster_config`]: slots that move.
//!
//! What can be decided without Redis is decided in [`crate::policy`] and [`crate::engine`].

mod blocked;
mod call;
mod caller;
mod cluster_config;
mod commands;
mod delivery;
mod events;
mod ffi;
mod info;
mod key;
mod key_events;
mod migration;
mod module;
mod modules;
mod notify;
mod propagation;
mod removals;
mod reply;
mod server;
mod settings;
mod state;
mod tick;
mod timer;
mod users;
mod value;
mod value_type;
mod waiting_client;

/// The server counts the module's memory as its own: in INFO memory, and against maxmemory. There is no server in unit
/// tests.
#[cfg(not(test))]
#[global_allocator]
static ALLOCATOR: redis_module::alloc::RedisAlloc = redis_module::alloc::RedisAlloc;
