//! Random clients and faults against real servers, and a checker that decides whether what was seen could be so.
//!
//! After etcd's tests/robustness: traffic, failures, a model, validation. Nothing of the module's code is used here.
//!
//! | file | owns |
//! |---|---|
//! | `run.rs` | one run of a seed, and its verdict |
//! | `traffic.rs` | what clients ask |
//! | `failures.rs` | what breaks |
//! | `view.rs` | the server's own view: MONITOR, LOCK.INFO and CLIENT LIST in one transaction |
//! | `history.rs` | what was done and seen |
//! | `resource.rs` | what the locks protect |
//! | `model.rs` | from when until when a hold surely ran, and may have run |
//! | `validate.rs`, `order.rs`, `samples.rs` | the rules |
//! | `chance.rs` | the generator |
//! | `chaos` | another driver: what cannot be modelled step by step, and what must be so at rest |

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod chance;
pub mod chaos;
mod failures;
mod history;
mod model;
mod order;
mod resource;
mod run;
mod samples;
mod traffic;
mod validate;
mod view;

pub use failures::Failure;
pub use run::{run, Outcome, Plan, Tally};
