//! The edge: everything `unsafe`, and nothing that decides.
//!
//! * [`api`]: the server's functions, each wrapped once; [`clock`]: the time; [`guard`]: no panic gets past here; [`state`]: the
//!   module's memory.
//! * [`module`]: what happens at load; [`settings`] and [`info`]: CONFIG and INFO.
//! * [`commands`]: the table of commands, and what each does; [`command_info`]: what COMMAND DOCS says of them; [`call`]: from
//!   arguments to reply; [`replication`]: the internal commands; [`reply`]: replies of more than one word; [`notify`]:
//!   keyspace events.
//! * [`key`], [`server`], [`blocked`]: the engine's traits, done with Redis; [`delivery`]: answers that may yet be
//!   lost; [`propagation`]: whether anybody replicates from here; [`role`]: whether this server decides; [`cluster_config`]: when a
//!   cluster's node has changed its configuration.
//! * [`caller`]: who runs a command; [`modules`]: whether others may call; [`users`]: ACL users; [`client_list`]: what the server
//!   says of a client.
//! * [`value`]: the data type; [`events`]: what else the server tells; [`migration`]: what it tells of slots that move;
//!   [`removals`]: what it tells of locks that somebody else removed; [`timer`]: the one timer.

#![allow(unsafe_code)]

mod api;
mod blocked;
mod call;
mod caller;
mod client_list;
mod clock;
mod cluster_config;
mod command_info;
mod commands;
mod delivery;
mod events;
#[cfg(feature = "failpoints")]
mod faults;
mod guard;
mod info;
mod key;
mod migration;
mod module;
mod modules;
mod notify;
mod propagation;
mod removals;
mod replication;
mod reply;
mod role;
mod server;
mod settings;
mod state;
mod timer;
mod users;
mod value;

/// The server counts the module's memory as its own: in INFO memory, and against maxmemory. There is no server in unit
/// tests.
#[cfg(not(test))]
#[global_allocator]
static ALLOCATOR: redis_module::alloc::RedisAlloc = redis_module::alloc::RedisAlloc;
