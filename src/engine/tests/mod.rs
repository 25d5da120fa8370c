//! The engine with a fake server, which does nothing but write down what it is told, in order.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod checks;
mod deadlock;
mod departures;
mod effects;
mod fake;
mod limits;
mod notes;
mod order;
pub mod program;
mod queue_check;
mod random;
mod replica;
mod rights;
mod search;
mod serving;
mod sessions;
mod settled_slots;
mod slices;
mod stats;
pub mod stream;
mod undelivered;
mod world;

use std::rc::Rc;

use super::wait_table::Contended;
use super::*;
use crate::lock::{
    Fence, Hold, Holders, Limit, Millis, Mode, Now, Origin, OwnerRef, Request, Rights, Session, Steady, Ticket,
    UnixMicros, User, WaitQueue,
};
use crate::wire::{ExtendRequest, Patience, ReleaseRequest};
use fake::{show, Client, Did, Fake, Value};
use world::{ask, at, how, owner, Ask, How, Name, World};

const K: Name = (0, "k");
const K2: Name = (0, "k2");
const OTHER_DB: Name = (1, "k");

/// What came of it is not asked for here.
fn done<T>(_: T) {}
