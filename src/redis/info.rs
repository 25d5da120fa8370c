//! The section `redislock` of INFO.

use std::ffi::{c_int, CStr};

use redis_module::raw;

use super::api::{call, Ctx};
use super::blocked::BlockedClient;
use super::guard::guard;
use super::{removals, state};
use crate::engine::Engine;

/// Registers the section; false if the server refuses.
pub fn register(ctx: Ctx) -> bool {
    // SAFETY: the context is that of the load; the callback lives as long as the process.
    unsafe { call!(RedisModule_RegisterInfoFunc(ctx.raw(), Some(on_info))) == raw::REDISMODULE_OK as c_int }
}

unsafe extern "C" fn on_info(info: *mut raw::RedisModuleInfoCtx, for_crash_report: c_int) {
    // A server that crashes may have done so in the middle of the module's work.
    if for_crash_report != 0 {
        return;
    }
    guard("INFO", (), || {
        // SAFETY: Redis lends the context for the call; the section is named as the module.
        if unsafe { call!(RedisModule_InfoAddSection(info, c"".as_ptr())) } != raw::REDISMODULE_OK as c_int {
            return;
        }
        for (name, value) in state::with_engine(|engine| fields(engine)).into_iter().flatten() {
            // SAFETY: as above; the name is copied.
            unsafe { call!(RedisModule_InfoAddFieldULongLong(info, name.as_ptr(), value)) };
        }
    });
}

/// What is told, in this order. The server puts `redislock_` before each name.
fn fields(engine: &Engine<BlockedClient>) -> [(&'static CStr, u64); 26] {
    let stats = engine.stats();
    [
        (c"locks_held", engine.locks_held() as u64),
        (c"waiters", engine.waiters() as u64),
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
        (c"undelivered_grants", stats.undelivered_grants),
        (c"operator_removals", removals::by_operators()),
        (c"evictions", removals::by_eviction()),
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
