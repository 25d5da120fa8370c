//! One driver that does everything at once, also what the soak cannot model: locks that are renamed, moved, dumped and
//! restored, transactions that kill clients, another module's calls, rights that change, replicas that come and go.
//!
//! Now and then it stops, waits until nothing more is due, and compares what the servers and the clients say.
//!
//! | file | owns |
//! |---|---|
//! | `plan.rs` | what is done, drawn from the seed |
//! | `step.rs` | one step, and its text |
//! | `run.rs` | one run of a seed; a failed plan made shorter |
//! | `world.rs` | taking a step |
//! | `servers.rs`, `clients.rs` | who there is |
//! | `ledger.rs` | what clients were told |
//! | `at_rest.rs` | what must be so when nothing is due |

mod at_rest;
mod clients;
mod ledger;
mod plan;
mod run;
mod servers;
mod step;
mod world;

pub use run::{replay, run, Outcome};
