//! The section `redislock` of INFO.

use std::ffi::CStr;

use super::ffi::clock;
use super::ffi::info::{register_info, InfoSection, OnInfo};
use super::ffi::Ctx;
use super::state::{self, module};
use super::waiting_client::BlockedClient;
use crate::engine::Engine;

/// Registers the section; false if the server refuses.
pub fn register(ctx: Ctx) -> bool {
    register_info::<Section>(ctx)
}

struct Section;

impl OnInfo for Section {
    fn write(section: InfoSection) {
        for (name, value) in state::with_engine(|engine| fields(engine)).into_iter().flatten() {
            section.add(name, value);
        }
    }
}

/// The fields, in their order. The server puts `redislock_` before each name.
fn fields(engine: &Engine<BlockedClient>) -> [(&'static CStr, u64); 28] {
    let stats = engine.stats();
    let removals = module().removals.borrow();
    [
        (c"locks_held", engine.locks_held() as u64),
        (c"waiters", engine.waiters() as u64),
        (c"start_quarantine_left_ms", engine.quarantine_left(clock::now().steady).0),
        (c"grants_at_once", stats.grants_at_once),
        (c"grants_after_waiting", stats.grants_after_waiting),
        (c"refusals", stats.refusals),
        (c"wait_timeouts", stats.wait_timeouts),
        (c"waits_withdrawn", stats.waits_withdrawn),
        (c"waits_abandoned", stats.waits_abandoned),
        (c"waits_denied", stats.waits_denied),
        (c"waits_redirected", stats.waits_redirected),
        (c"releases", stats.releases),
        (c"downgrades", stats.downgrades),
        (c"extensions", stats.extensions),
        (c"lease_ends", stats.lease_ends),
        (c"session_ends", stats.session_ends),
        (c"coolings", stats.coolings),
        (c"undelivered_grants", stats.undelivered_grants),
        (c"operator_removals", removals.by_operators()),
        (c"evictions", removals.by_eviction()),
        (c"moved_away", stats.moved_away),
        (c"deadlocks_refused", stats.deadlocks_refused),
        (c"wait_us_p50", stats.wait.percentile_us(50)),
        (c"wait_us_p99", stats.wait.percentile_us(99)),
        (c"wait_us_max", stats.wait.max_us()),
        (c"hold_us_p50", stats.hold.percentile_us(50)),
        (c"hold_us_p99", stats.hold.percentile_us(99)),
        (c"hold_us_max", stats.hold.max_us()),
    ]
}
