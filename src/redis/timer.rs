//! The one timer: rings when the engine's next deadline is due, or as soon as an event has left a note.
//!
//! It must be the only one. The server keeps timers by the wall clock and looks at the first; if the clock is put ahead, one
//! that is set after that comes behind one that was set before, and is as late as that one.

use std::cell::Cell;
use std::ffi::c_void;

use super::api::{self, call, Ctx, RawCtx, TimerId};
use super::delivery;
use super::guard::guard;
use super::notify;
use super::removals;
use super::server::TimerServer;
use super::state::{self, MainThread};
use crate::engine::{Engine, Inbox};
use crate::lock::{Millis, Steady};
use redis_module::raw;

/// When the timer rings, and which it is.
static ARMED: MainThread<Cell<Option<(Steady, TimerId)>>> = MainThread::new(Cell::new(None));

/// Whether it was asked to ring at once and has not rung yet: an event that comes a million times asks once.
static KICKED: MainThread<Cell<bool>> = MainThread::new(Cell::new(false));

/// How late the timer may be before [`check`] takes it for lost, in milliseconds. Redis keeps its timers by the wall
/// clock, and one that was set before the clock was put back rings that much too late.
const LATE: Millis = Millis(50);
/// How long the timer rests after a panic, in milliseconds.
const AFTER_A_PANIC: Millis = Millis(1000);
/// The longest the timer is set for, in milliseconds: a day. It is set again when it rings.
const LONGEST_MS: i64 = 24 * 60 * 60 * 1000;

/// Sees to it that the timer rings at `due`, or before.
pub fn arm(ctx: Ctx, due: Option<Steady>) {
    let Some(due) = due else { return };
    match ARMED.get().get() {
        Some((at, _)) if at <= due => return,
        Some((_, timer)) => ctx.stop_timer(timer),
        None => {}
    }
    let us = due.0.saturating_sub(api::now().steady.0).max(0);
    // Rounded up: a timer that rings before the deadline would only ring again.
    let ms = (us / 1000).saturating_add(i64::from(us % 1000 != 0)).min(LONGEST_MS);
    ARMED.get().set(Some((due, ctx.create_timer(ms, on_timer))));
}

/// Sees to it that the timer rings at once. From any callback.
pub fn kick() {
    if KICKED.get().replace(true) {
        return;
    }
    arm(Ctx::detached(), Some(api::now().steady));
    // Redis 7.0 reckons how long to sleep before it runs what may have set the timer; this wakes it.
    // SAFETY: the callback lives as long as the process and takes no data.
    unsafe { call!(RedisModule_EventLoopAddOneShot(Some(on_wake), std::ptr::null_mut())) };
}

/// Ten times a second: sets the timer again if it should have rung long ago.
pub fn check() {
    if let Some((at, timer)) = ARMED.get().get() {
        if at + LATE < api::now().steady {
            Ctx::detached().stop_timer(timer);
            ARMED.get().set(None);
            KICKED.get().set(false);
            kick();
        }
    }
}

unsafe extern "C" fn on_wake(_: *mut c_void) {}

unsafe extern "C" fn on_timer(ctx: *mut RawCtx, _: *mut c_void) {
    ARMED.get().set(None);
    KICKED.get().set(false);
    let notes_left = guard("the timer", None, || {
        // SAFETY: Redis lends the context for the call.
        Some(ring(unsafe { Ctx::new(ctx) }))
    });
    match notes_left {
        Some(true) => kick(),
        Some(false) => {}
        None => guard("recovering the timer", (), recover),
    }
}

/// After a panic the notes of that turn are lost: looks at every lock that somebody waits for, in a while.
fn recover() {
    let keys = state::with_engine(|engine| engine.waited_for()).unwrap_or_default();
    state::with_inbox(|inbox| inbox.changed.extend(keys));
    arm(Ctx::detached(), Some(api::now().steady + AFTER_A_PANIC));
}

/// The engine's tick. True if there are notes left that it could not see.
fn ring(ctx: Ctx) -> bool {
    #[cfg(feature = "failpoints")]
    super::faults::timer();
    let mut inbox = state::take_inbox();
    let mut server = TimerServer::new(ctx);
    let moved_away = removals::explain(&mut server);
    let run = |engine: &mut Engine<_>| {
        engine.count_moved_away(moved_away);
        let next = engine.tick(&mut server, &mut inbox);
        (next, engine.take_timer_events())
    };
    let (next, events) = state::with_engine(run).unwrap_or_default();
    // What opening keys set off meanwhile came after what was taken.
    let came = state::with_inbox(|notes| {
        let came = !notes.is_empty();
        put_back(notes, inbox);
        came
    });
    arm(ctx, next);
    arm(ctx, delivery::unsubscribe_if_idle());
    notify::notify_of_tick(ctx, events);
    came.unwrap_or(true)
}

fn put_back(notes: &mut Inbox, mut left: Inbox) {
    left.append(std::mem::take(notes));
    // The memory that many notes took is given back.
    *notes = if left.is_empty() { Inbox::new() } else { left };
}
