//! Slots that move whole from one server of a cluster to another: CLUSTER MIGRATION IMPORT of Redis 8.4, CLUSTER MIGRATESLOTS
//! of Valkey 9.
//!
//! At the source Redis takes whole slots out of the data set, and a background thread frees what is in them; no callback tells
//! of a single value. Only while clients track keys, and on Valkey always, values leave one by one (`value.rs`).

use super::ffi::slot_migration::{subscribe_to_slot_moves, OnSlotMove, SlotMove};
use super::ffi::{internal_names, log, Ctx, Level};
use super::server::TimerServer;
use super::state::{self, module};
use super::timer;
use crate::engine::Leaving;
use crate::policy::role::Role;
use crate::wire::SlotSet;

/// Subscribes to the server's events about such moves, if it has them.
pub fn subscribe(ctx: Ctx) {
    subscribe_to_slot_moves::<Moves>(ctx, module().capabilities.get().slot_moves());
}

/// Whether this slot is coming in. Until it has come, another server decides about its locks.
pub fn is_coming(slot: u16) -> bool {
    module().coming_slots.borrow().as_ref().is_some_and(|coming| coming.contains(slot))
}

struct Moves;

impl OnSlotMove for Moves {
    fn moved(ctx: Ctx, step: SlotMove) {
        match step {
            SlotMove::ImportStarted(slots) => import_started(&slots),
            SlotMove::ImportFailed(slots) => slots_left(slots, Leaving::Dropped),
            SlotMove::ImportCompleted(slots) => import_completed(ctx, &slots),
            // A server usually reports that slots left before it trims them. A replica does not, and neither does a server
            // that was promoted in between.
            SlotMove::Left(slots) | SlotMove::Trimmed(slots) => slots_left(slots, Leaving::Moved),
            SlotMove::Propagates => send_fence(ctx),
        }
    }
}

fn import_started(slots: &SlotSet) {
    module().coming_slots.borrow_mut().get_or_insert_with(SlotSet::new).insert_all(slots);
}

/// The slots are this server's now. Its fence clock is brought above what was given elsewhere, and what is due is done at
/// once.
fn import_completed(ctx: Ctx, slots: &SlotSet) {
    if let Some(coming) = module().coming_slots.borrow_mut().as_mut() {
        coming.remove_all(slots);
    }
    let mut server = TimerServer::new(ctx);
    state::with_engine(|engine| engine.recheck_slots(&mut server));
    timer::kick();
}

/// The slots have left this server with all that is in them.
fn slots_left(slots: SlotSet, why: Leaving) {
    let why = match module().role.get() {
        Role::Primary => why,
        Role::Replica => Leaving::Dropped,
    };
    state::with_inbox(|inbox| state::with_engine(|engine| engine.slots_left(slots, why, inbox)));
    timer::kick();
}

/// Sends the fence clock before all keys, in the child process that sends the slots. So the new server begins above every
/// fence given here, also for locks that are free. What is granted later goes to it with its fence.
fn send_fence(ctx: Ctx) {
    let last = state::fence_to_save();
    if last != 0 && !ctx.propagate_for_slot_migration(internal_names::FENCE, last) {
        log(Level::Warning, "the server did not take the fence clock along with slots that move");
    }
}
