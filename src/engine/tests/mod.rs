//! Tests of the engine with a fake server, which only logs what the engine does, in order.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod checks;
mod deadlock;
mod deadlock_search_cost;
mod departures;
mod effects;
mod external_changes;
mod fake;
mod limits;
mod listing;
mod multi_key;
mod order_of_effects;
pub mod program;
mod quarantine;
mod queue_check;
mod random;
mod replica;
mod rights;
mod serving;
mod sessions;
mod settled_slots;
mod stats;
pub mod stream;
mod ticks;
mod undelivered;
mod world;

use std::rc::Rc;

use super::wait_table::Contended;
use super::*;
use crate::lock::{
    Fence, Hold, Holders, Limit, Millis, Mode, Now, Origin, OwnerRef, Released, Request, Rights, Session, Steady,
    Terms, Ticket, UnixMicros, User, WaitQueue,
};
use crate::wire::{ExtendRequest, Patience, ReleaseRequest};
use fake::{show, Client, Did, Fake, Value};
use world::{after, ask, at, how, owner, After, Ask, How, Name, World};

const K: Name = (0, "k");
const K2: Name = (0, "k2");
const OTHER_DB: Name = (1, "k");

/// What came of it is not asked for here.
fn done<T>(_: T) {}
