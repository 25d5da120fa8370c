//! The one timer. It rings when the engine's next deadline is due, or as soon as an event has left a note; what happens then
//! is handed in at load ([`set_tick`]).
//!
//! It must be the only timer. The server keeps timers by the wall clock and looks at the first one. If the clock is put ahead,
//! a timer that is set after that comes behind one that was set before, and is as late as that one.

use super::ffi::timer::{create_timer, stop_timer, wake_event_loop, OnTimer};
use super::ffi::{clock, Ctx};
use super::state::module;
use crate::lock::{Millis, Steady};

/// How late the timer may be before [`check`] takes it for lost, in milliseconds. Redis keeps its timers by the wall clock,
/// so a timer that was set before the clock was put back rings that much too late.
const LATE: Millis = Millis(50);
/// The longest time that the timer is set for, in milliseconds: a day. It is set again when it rings.
const LONGEST_MS: i64 = 24 * 60 * 60 * 1000;

/// Says what happens when the timer rings. It must not panic.
pub fn set_tick(tick: fn(Ctx)) {
    module().tick.set(tick);
}

/// Makes sure that the timer rings at `due` or earlier; `None`: there is no deadline.
pub fn arm(ctx: Ctx, due: Option<Steady>) {
    let Some(due) = due else { return };
    match module().armed.get() {
        Some((at, _)) if at <= due => return,
        Some((_, timer)) => stop_timer(ctx, timer),
        None => {}
    }
    let us = due.0.saturating_sub(clock::now().steady.0).max(0);
    // Rounded up: a timer that rings before the deadline would only ring again.
    let ms = (us / 1000).saturating_add(i64::from(us % 1000 != 0)).min(LONGEST_MS);
    module().armed.set(Some((due, create_timer::<Bell>(ctx, ms))));
}

/// Makes sure that the timer rings at once. May be called from any callback.
pub fn kick() {
    if module().is_kicked.replace(true) {
        return;
    }
    arm(Ctx::detached(), Some(clock::now().steady));
    // Redis 7.0 computes how long to sleep before it runs what may have set the timer.
    wake_event_loop();
}

/// Sets the timer again if it should have rung long ago. To be called ten times a second.
pub fn check() {
    if let Some((at, timer)) = module().armed.get() {
        if at + LATE < clock::now().steady {
            stop_timer(Ctx::detached(), timer);
            forget();
            kick();
        }
    }
}

/// No timer is set.
fn forget() {
    module().armed.set(None);
    module().is_kicked.set(false);
}

struct Bell;

impl OnTimer for Bell {
    fn ring(ctx: Ctx) {
        forget();
        let tick = module().tick.get();
        tick(ctx);
    }
}
