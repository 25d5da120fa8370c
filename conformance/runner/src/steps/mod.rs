//! What the steps of scenarios do.
//!
//! | file | steps about |
//! |---|---|
//! | `servers.rs` | the servers, and what an operator does there |
//! | `apps.rs` | the applications as processes |
//! | `holds.rs`, `options.rs` | requests for locks, and what the client says of them |
//! | `judging.rs` | what the servers say |
//! | `faults.rs` | the relays before the servers |
//! | `bulk.rs`, `contention.rs` | many locks, many waits, many cancellations |
//! | `leaders.rs` | leader election |

mod apps;
mod bulk;
mod contention;
mod faults;
mod holds;
mod judging;
mod leaders;
mod options;
mod servers;

pub use apps::end_all;
pub use judging::nothing_is_left;
pub use servers::clear;

use crate::definition::Definition;

/// All kinds of steps, in the order of the README.
pub fn all() -> Vec<Definition> {
    let groups = [
        servers::steps(),
        apps::steps(),
        holds::steps(),
        judging::steps(),
        faults::steps(),
        bulk::steps(),
        contention::steps(),
        leaders::steps(),
    ];
    groups.into_iter().flatten().collect()
}
