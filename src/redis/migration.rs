//! Slots that move whole from one server of a cluster to another: CLUSTER MIGRATION IMPORT of Redis 8.4, CLUSTER MIGRATESLOTS of
//! Valkey 9. Servers without them refuse the subscription, and nothing is different.
//!
//! At the source Redis takes whole slots out of the data set, and a background thread frees what is in them; no callback tells
//! of the single value. Only while clients track keys, and on Valkey always, values leave one by one (`value`).

use std::cell::RefCell;
use std::ffi::{c_int, c_void};

use redis_module::raw;

use super::api::{self, call, Ctx, Level, RawCtx};
use super::guard::guard;
use super::server::TimerServer;
use super::state::MainThread;
use super::{replication, role, state, timer};
use crate::engine::Leaving;
use crate::wire::SlotSet;

/// `VALKEYMODULE_EVENT_ATOMIC_SLOT_MIGRATION` of Valkey 9 (valkeymodule.h). Redis gives this number to another event.
const VALKEY_MIGRATION: u64 = 19;
/// Its subevents.
const VALKEY_IMPORT_STARTED: u64 = 0;
const VALKEY_IMPORT_ABORTED: u64 = 2;
const VALKEY_IMPORT_COMPLETED: u64 = 4;
const VALKEY_EXPORT_COMPLETED: u64 = 5;

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

/// Slots that began to come in and are not this server's yet.
static COMING: MainThread<RefCell<Option<SlotSet>>> = MainThread::new(RefCell::new(None));

/// Subscribes to what the server tells of such moves, if it knows them.
pub fn subscribe(ctx: Ctx) {
    let subscribe = |id, callback| {
        let event = raw::RedisModuleEvent { id, dataver: 1 };
        // SAFETY: the context is that of the load; the callback lives as long as the process. A server that does not know the
        // event says so, and that is all.
        unsafe { call!(RedisModule_SubscribeToServerEvent(ctx.raw(), event, callback)) };
    };
    if api::is_valkey(ctx) {
        subscribe(VALKEY_MIGRATION, Some(on_valkey_migration));
    } else {
        subscribe(raw::REDISMODULE_EVENT_CLUSTER_SLOT_MIGRATION, Some(on_migration));
        subscribe(raw::REDISMODULE_EVENT_CLUSTER_SLOT_MIGRATION_TRIM, Some(on_trim));
    }
}

/// Whether this slot is coming in: what becomes of its locks is still another server's doing.
pub fn is_coming(slot: u16) -> bool {
    COMING.get().borrow().as_ref().is_some_and(|coming| coming.contains(slot))
}

unsafe extern "C" fn on_migration(ctx: *mut RawCtx, _: raw::RedisModuleEvent, sub: u64, data: *mut c_void) {
    guard("a slot migration", (), || {
        // SAFETY: the event's data, in the version asked for.
        let Some(info) = (unsafe { data.cast::<raw::RedisModuleClusterSlotMigrationInfo>().as_ref() }) else { return };
        // SAFETY: the ranges live as long as the event.
        let slots = || unsafe { read_ranges(info.slots) };
        match sub {
            raw::REDISMODULE_SUBEVENT_CLUSTER_SLOT_MIGRATION_IMPORT_STARTED => import_started(&slots()),
            raw::REDISMODULE_SUBEVENT_CLUSTER_SLOT_MIGRATION_IMPORT_FAILED => left(slots(), Leaving::Dropped),
            raw::REDISMODULE_SUBEVENT_CLUSTER_SLOT_MIGRATION_IMPORT_COMPLETED => import_completed(ctx, &slots()),
            raw::REDISMODULE_SUBEVENT_CLUSTER_SLOT_MIGRATION_MIGRATE_COMPLETED => left(slots(), Leaving::Moved),
            raw::REDISMODULE_SUBEVENT_CLUSTER_SLOT_MIGRATION_MIGRATE_MODULE_PROPAGATE => hand_fence_over(ctx),
            _ => {}
        }
    });
}

/// Slots are emptied: they left, or their import was given up. Mostly it was told before that; not at a replica, and not where a
/// promotion came in between.
unsafe extern "C" fn on_trim(_: *mut RawCtx, _: raw::RedisModuleEvent, sub: u64, data: *mut c_void) {
    guard("slots that are emptied", (), || {
        if sub == raw::REDISMODULE_SUBEVENT_CLUSTER_SLOT_MIGRATION_TRIM_COMPLETED {
            return;
        }
        // SAFETY: the event's data, in the version asked for.
        if let Some(info) = unsafe { data.cast::<raw::RedisModuleClusterSlotMigrationTrimInfo>().as_ref() } {
            // SAFETY: the ranges live as long as the event.
            left(unsafe { read_ranges(info.slots) }, Leaving::Moved);
        }
    });
}

unsafe extern "C" fn on_valkey_migration(ctx: *mut RawCtx, _: raw::RedisModuleEvent, sub: u64, data: *mut c_void) {
    guard("a slot migration", (), || {
        // SAFETY: the event's data, in the version asked for.
        let Some(info) = (unsafe { data.cast::<ValkeyMigrationInfo>().as_ref() }) else { return };
        // SAFETY: the ranges live as long as the event.
        let slots = || unsafe { read_valkey_ranges(info) };
        match sub {
            VALKEY_IMPORT_STARTED => import_started(&slots()),
            VALKEY_IMPORT_ABORTED => left(slots(), Leaving::Dropped),
            VALKEY_IMPORT_COMPLETED => import_completed(ctx, &slots()),
            VALKEY_EXPORT_COMPLETED => left(slots(), Leaving::Moved),
            _ => {}
        }
    });
}

/// # Safety
/// Null, or an array that is live until the call returns.
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
/// The ranges are live until the call returns.
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

fn import_started(slots: &SlotSet) {
    COMING.get().borrow_mut().get_or_insert_with(SlotSet::new).insert_all(slots);
}

/// The slots are this server's now: its fence clock is brought above what was given elsewhere, and what is due is done at once.
fn import_completed(ctx: *mut RawCtx, slots: &SlotSet) {
    if let Some(coming) = COMING.get().borrow_mut().as_mut() {
        coming.remove_all(slots);
    }
    // SAFETY: Redis lends the context for the call.
    let mut server = TimerServer::new(unsafe { Ctx::new(ctx) });
    state::with_engine(|engine| engine.recheck_slots(&mut server));
    timer::kick();
}

/// The slots are here no more, and nothing in them.
fn left(slots: SlotSet, why: Leaving) {
    let why = if role::is_replica() { Leaving::Dropped } else { why };
    state::with_inbox(|inbox| state::with_engine(|engine| engine.slots_left(slots, why, inbox)));
    timer::kick();
}

/// In the child that sends the slots: the fence clock goes before all keys, so that the new server begins above every fence
/// given here, also for locks that are free. What is granted later goes to it with its fence.
fn hand_fence_over(ctx: *mut RawCtx) {
    // SAFETY: the pointer was written at load, on this thread, and is only read since.
    let propagate = unsafe { raw::RedisModule_ClusterPropagateForSlotMigration };
    let (last @ 1.., Some(propagate)) = (state::fence_to_save(), propagate) else { return };
    // SAFETY: "l" takes one long long.
    let done = unsafe { propagate(ctx, replication::FENCE.as_ptr(), c"l".as_ptr(), last.cast_signed()) };
    if done != raw::REDISMODULE_OK as c_int {
        api::log(Level::Warning, "the server did not take the fence clock along with slots that move");
    }
}
