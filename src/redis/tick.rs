//! What happens when the timer rings: the engine's tick, with the notes that events have left.

use super::ffi::guard::guard;
use super::ffi::{clock, Ctx};
use super::server::TimerServer;
use super::{delivery, notify, removals, state, timer};
use crate::engine::Engine;
use crate::lock::Millis;

/// How long the timer rests after a panic, in milliseconds.
const AFTER_A_PANIC: Millis = Millis(1000);

/// Runs the tick, and recovers if it panics.
pub fn run(ctx: Ctx) {
    match guard("the timer", None, || Some(tick(ctx))) {
        Some(true) => timer::kick(),
        Some(false) => {}
        None => guard("recovering the timer", (), recover),
    }
}

/// The notes of a tick that panicked are lost. So every lock that somebody waits for is noted, for a tick a second later.
fn recover() {
    let keys = state::with_engine(|engine| engine.waited_for()).unwrap_or_default();
    state::with_inbox(|inbox| inbox.changed.extend(keys));
    timer::arm(Ctx::detached(), Some(clock::now().steady + AFTER_A_PANIC));
}

/// The engine's tick. True if there are notes left that it could not see.
fn tick(ctx: Ctx) -> bool {
    #[cfg(feature = "failpoints")]
    panic_if_asked();
    let mut inbox = state::take_inbox();
    let mut server = TimerServer::new(ctx);
    let moved_away = removals::explain(&mut server);
    let run = |engine: &mut Engine<_>| {
        engine.count_moved_away(moved_away);
        let next = engine.tick(&mut server, &mut inbox);
        (next, engine.take_filed_events())
    };
    let (next, events) = state::with_engine(run).unwrap_or_default();
    // Keys that the tick opened may have left new notes. They follow those that were taken.
    let came = state::put_back_inbox(inbox);
    timer::arm(ctx, next);
    timer::arm(ctx, delivery::unsubscribe_if_idle());
    notify::notify_of_keys(ctx, events);
    came
}

/// Panics if LOCK.__FAILPOINT asked for it.
#[cfg(feature = "failpoints")]
fn panic_if_asked() {
    #[allow(clippy::panic)]
    if state::module().panic_in_tick.take() {
        panic!("planted in the timer");
    }
}
