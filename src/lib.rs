//! redis-lock: locks as commands of a Redis server.
//!
//! How a request goes: bytes become a request ([`wire`]), a pure machine decides ([`lock`]), one path keeps the order of
//! events ([`engine`]), and the edge does what was decided ([`redis`]): record and replicate the change, then answer,
//! then set the alarm. Each folder uses only those below it:
//!
//! * [`redis`]: everything `unsafe`, nothing that decides. Commands, value callbacks, events, timers, blocked clients.
//! * [`engine`]: the turns that commands, timers and events take; deadlines, blocked waiters, what waits to be done.
//! * [`wire`]: requests, error texts, the stored and the replicated form.
//! * [`lock`]: the rules.

#![deny(unsafe_code)]
// All of the crate is private, and its documentation is built with private items.
#![allow(rustdoc::private_intra_doc_links)]

mod engine;
mod failpoints;
#[cfg(test)]
mod fuzz;
mod lock;
mod policy;
mod redis;
mod wire;
