//! redis-lock: locks as commands of a Redis server.
//!
//! A request takes this way: bytes become a request ([`wire`]), pure rules decide ([`lock`]), the engine keeps the order of
//! events and remembers what is not in the data set ([`engine`]), and the adapter to Redis does what was decided
//! ([`redis`]): it records and replicates the change, gives the answers, and sets the timer. Each folder uses only those
//! below it:
//!
//! * [`redis`]: the adapter to the module API: commands, the data type, events, the timer, blocked clients. Its folder
//!   `ffi` wraps the functions of the API and has the `unsafe` code.
//! * [`engine`]: one step for each command, timer tick and event; deadlines, wait queues, sessions, counters.
//! * [`policy`]: what the module decides about its server: whose command runs, who listens, what was delivered or removed.
//! * [`wire`]: requests, error texts, the stored and the replicated form.
//! * [`lock`]: the rules of one lock.
//! * [`failpoints`]: misbehaviour that tests switch on.
//!
//! `make check` fails if a file uses one that uses it, or one of a folder above its own (`tools/structure`).
//!
//! # Glossary
//! * **lock**: a key of the type `redislock`. A free lock has no key.
//! * **owner**: the name under which a client asks for a lock and holds it.
//! * **hold**: one owner's possession of a lock, exclusive or shared. The owner is then a **holder**.
//! * **lease**: how long a hold lasts unless it is extended. It **expires** when that time is over.
//! * **fence**: the fencing token of a hold, a number that rises with every grant.
//! * **waiter**: a request that waits in a lock's **wait queue**; its **ticket** tells its place.
//! * **session**: the connection that a hold is bound to. The hold ends when the connection closes.
//! * **reacquire**: an owner that holds a lock asks for it again.
//! * **step**: what the rules do with one lock at one moment. **Tick**: one call of the timer.
//! * **effect**: what a step wants done. **Change**: the part of it that replicas and the AOF are told of.
//! * **in flight**: an answer was given to the server, and it is not known yet whether it reached the client.

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
