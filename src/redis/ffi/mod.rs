//! The module API of the server, made safe: every function that the module calls is wrapped here, once, and every callback
//! that the server runs begins here, behind the barrier against panics.
//!
//! A file stands for one part of the API. What a callback does is passed in as a type that implements a trait of its file
//! ([`timer::OnTimer`], [`data_type::DataType`], [`blocked::OnBlocked`] and so on), so nothing here knows of the module's
//! state. Nearly all `unsafe` code of the module is in this folder. The rest is the entry point in
//! `src/redis/module.rs` and one lifetime in `src/redis/key.rs`.

#![allow(unsafe_code)]

pub mod acl;
pub mod api;
pub mod blocked;
pub mod call_reply;
pub mod clock;
pub mod command;
pub mod compat;
pub mod config;
pub mod context;
pub mod data_type;
pub mod events;
pub mod guard;
pub mod info;
pub mod inotify;
pub mod internal_names;
pub mod keys;
pub mod load;
pub mod log;
pub mod main_thread;
pub mod replies;
pub mod server_info;
pub mod slot_migration;
pub mod strings;
pub mod timer;

pub use context::{Ctx, Flags};
pub use log::{log, Level};
