//! What the server tells of slots that move whole from one server of a cluster to another.

use std::ffi::{c_int, c_void};

use redis_module::raw;

use super::api::RawCtx;
use super::compat::{self, SlotMoves};
use super::context::Ctx;
use super::events::subscribe;
use super::guard::guard;
use crate::wire::SlotSet;

/// A step of such a move.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SlotMove {
    /// Slots began to come in.
    ImportStarted(SlotSet),
    /// Their import was given up.
    ImportFailed(SlotSet),
    /// They are this server's now.
    ImportCompleted(SlotSet),
    /// Slots left this server.
    Left(SlotSet),
    /// Slots are emptied: they left, or their import was given up.
    Trimmed(SlotSet),
    /// In the child process that sends slots: what belongs to no key may be sent now.
    Propagates,
}

/// Hears of slots that move.
pub trait OnSlotMove {
    /// A step of a move was made.
    fn moved(ctx: Ctx, step: SlotMove);
}

/// Subscribes to what the server tells of slots that move. A server that does not know the event refuses the subscription,
/// which makes no difference.
pub fn subscribe_to_slot_moves<M: OnSlotMove>(ctx: Ctx, events: SlotMoves) {
    match events {
        SlotMoves::Redis => {
            subscribe(ctx, raw::REDISMODULE_EVENT_CLUSTER_SLOT_MIGRATION, 1, Some(on_migration::<M>));
            subscribe(ctx, raw::REDISMODULE_EVENT_CLUSTER_SLOT_MIGRATION_TRIM, 1, Some(on_trim::<M>));
        }
        SlotMoves::Valkey => {
            subscribe(ctx, compat::VALKEY_EVENT_ATOMIC_SLOT_MIGRATION, 1, Some(on_valkey_migration::<M>));
        }
    }
}

/// `ValkeyModuleSlotRange`.
#[repr(C)]
struct ValkeySlotRange {
    start: c_int,
    end: c_int,
}

/// `ValkeyModuleAtomicSlotMigrationInfoV1`.
#[repr(C)]
struct ValkeyMigrationInfo {
    version: u64,
    job_name: [u8; raw::REDISMODULE_NODE_ID_LEN as usize + 1],
    slot_ranges: *const ValkeySlotRange,
    num_slot_ranges: u32,
}

/// The subevents of Valkey's event.
const VALKEY_IMPORT_STARTED: u64 = 0;
const VALKEY_IMPORT_ABORTED: u64 = 2;
const VALKEY_IMPORT_COMPLETED: u64 = 4;
const VALKEY_EXPORT_COMPLETED: u64 = 5;

unsafe extern "C" fn on_migration<M: OnSlotMove>(
    ctx: *mut RawCtx,
    _: raw::RedisModuleEvent,
    sub: u64,
    data: *mut c_void,
) {
    guard("a slot migration", (), || {
        // SAFETY: the event's data, in the version asked for.
        let Some(info) = (unsafe { data.cast::<raw::RedisModuleClusterSlotMigrationInfo>().as_ref() }) else { return };
        // SAFETY: the ranges live as long as the event.
        let slots = || unsafe { read_ranges(info.slots) };
        let step = match sub {
            raw::REDISMODULE_SUBEVENT_CLUSTER_SLOT_MIGRATION_IMPORT_STARTED => SlotMove::ImportStarted(slots()),
            raw::REDISMODULE_SUBEVENT_CLUSTER_SLOT_MIGRATION_IMPORT_FAILED => SlotMove::ImportFailed(slots()),
            raw::REDISMODULE_SUBEVENT_CLUSTER_SLOT_MIGRATION_IMPORT_COMPLETED => SlotMove::ImportCompleted(slots()),
            raw::REDISMODULE_SUBEVENT_CLUSTER_SLOT_MIGRATION_MIGRATE_COMPLETED => SlotMove::Left(slots()),
            raw::REDISMODULE_SUBEVENT_CLUSTER_SLOT_MIGRATION_MIGRATE_MODULE_PROPAGATE => SlotMove::Propagates,
            _ => return,
        };
        // SAFETY: Redis lends the context for the call.
        M::moved(unsafe { Ctx::new(ctx) }, step);
    });
}

unsafe extern "C" fn on_trim<M: OnSlotMove>(ctx: *mut RawCtx, _: raw::RedisModuleEvent, sub: u64, data: *mut c_void) {
    guard("slots that are emptied", (), || {
        if sub == raw::REDISMODULE_SUBEVENT_CLUSTER_SLOT_MIGRATION_TRIM_COMPLETED {
            return;
        }
        // SAFETY: the event's data, in the version asked for.
        if let Some(info) = unsafe { data.cast::<raw::RedisModuleClusterSlotMigrationTrimInfo>().as_ref() } {
            // SAFETY: the ranges live as long as the event.
            let slots = unsafe { read_ranges(info.slots) };
            // SAFETY: Redis lends the context for the call.
            M::moved(unsafe { Ctx::new(ctx) }, SlotMove::Trimmed(slots));
        }
    });
}

unsafe extern "C" fn on_valkey_migration<M: OnSlotMove>(
    ctx: *mut RawCtx,
    _: raw::RedisModuleEvent,
    sub: u64,
    data: *mut c_void,
) {
    guard("a slot migration", (), || {
        // SAFETY: the event's data, in the version asked for.
        let Some(info) = (unsafe { data.cast::<ValkeyMigrationInfo>().as_ref() }) else { return };
        // SAFETY: the ranges live as long as the event.
        let slots = || unsafe { read_valkey_ranges(info) };
        let step = match sub {
            VALKEY_IMPORT_STARTED => SlotMove::ImportStarted(slots()),
            VALKEY_IMPORT_ABORTED => SlotMove::ImportFailed(slots()),
            VALKEY_IMPORT_COMPLETED => SlotMove::ImportCompleted(slots()),
            VALKEY_EXPORT_COMPLETED => SlotMove::Left(slots()),
            _ => return,
        };
        // SAFETY: Redis lends the context for the call.
        M::moved(unsafe { Ctx::new(ctx) }, step);
    });
}

/// # Safety
/// `array` is null, or an array that lives until the call returns.
unsafe fn read_ranges(array: *const raw::RedisModuleSlotRangeArray) -> SlotSet {
    let mut slots = SlotSet::new();
    // SAFETY: the caller vouches for it.
    let Some(array) = (unsafe { array.as_ref() }) else { return slots };
    let count = usize::try_from(array.num_ranges).unwrap_or(0);
    // SAFETY: so many ranges follow.
    let ranges = unsafe { array.ranges.as_slice(count) };
    ranges.iter().for_each(|range| slots.insert_range(range.start, range.end));
    slots
}

/// # Safety
/// The ranges live until the call returns.
unsafe fn read_valkey_ranges(info: &ValkeyMigrationInfo) -> SlotSet {
    let mut slots = SlotSet::new();
    let count = usize::try_from(info.num_slot_ranges).unwrap_or(0);
    if info.slot_ranges.is_null() {
        return slots;
    }
    // SAFETY: so many ranges are there.
    let ranges = unsafe { std::slice::from_raw_parts(info.slot_ranges, count) };
    for range in ranges {
        if let (Ok(start), Ok(end)) = (u16::try_from(range.start), u16::try_from(range.end)) {
            slots.insert_range(start, end);
        }
    }
    slots
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ptr;

    #[test]
    fn ranges_of_valkey_that_are_no_slots_are_left_out() {
        let ranges = [ValkeySlotRange { start: 5, end: 7 }, ValkeySlotRange { start: -1, end: 3 }];
        let info = |slot_ranges| ValkeyMigrationInfo { version: 1, job_name: [0; 41], slot_ranges, num_slot_ranges: 2 };
        // SAFETY: the ranges live until the test ends.
        let slots = unsafe { read_valkey_ranges(&info(ranges.as_ptr())) };
        assert_eq!([3, 4, 5, 7, 8].map(|slot| slots.contains(slot)), [false, false, true, true, false]);
        // SAFETY: null is allowed.
        assert_eq!(unsafe { read_valkey_ranges(&info(ptr::null())) }, SlotSet::new());
    }
}
