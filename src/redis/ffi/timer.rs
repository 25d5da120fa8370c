//! Timers of the server.

use std::ffi::c_void;
use std::ptr;

use redis_module::raw;

use super::api::{call, RawCtx, TimerId};
use super::context::Ctx;

/// What a timer does.
pub trait OnTimer {
    /// Called when the timer rings. Must not panic.
    fn ring(ctx: Ctx);
}

unsafe extern "C" fn on_timer<T: OnTimer>(ctx: *mut RawCtx, _: *mut c_void) {
    // SAFETY: Redis lends the context for the call.
    T::ring(unsafe { Ctx::new(ctx) });
}

unsafe extern "C" fn on_wake(_: *mut c_void) {}

/// Creates a timer that rings once, in `ms` milliseconds.
pub fn create_timer<T: OnTimer>(ctx: Ctx, ms: i64) -> TimerId {
    // SAFETY: the context names the module, the callback lives as long as the process and takes no data.
    unsafe { call!(RedisModule_CreateTimer(ctx.raw(), ms, Some(on_timer::<T>), ptr::null_mut())) }
}

/// Stops a timer that has not rung yet.
pub fn stop_timer(ctx: Ctx, timer: TimerId) {
    // SAFETY: a timer that does not exist is an error and nothing else.
    unsafe { call!(RedisModule_StopTimer(ctx.raw(), timer, ptr::null_mut())) };
}

/// Makes the event loop go round once more before it sleeps.
pub fn wake_event_loop() {
    // SAFETY: the callback lives as long as the process and takes no data.
    unsafe { call!(RedisModule_EventLoopAddOneShot(Some(on_wake), ptr::null_mut())) };
}
