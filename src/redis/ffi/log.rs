//! The server's log, and the context that works without a client.

use std::cell::Cell;
use std::ffi::CString;
use std::ptr;

use redis_module::raw;

use super::api::{call, RawCtx};
use super::main_thread::MainThread;

/// A context without a client; written at load. It is a static of its own because [`log`] is called from any thread.
static DETACHED: MainThread<Cell<*mut RawCtx>> = MainThread::new(Cell::new(ptr::null_mut()));

/// How important a log line is.
#[derive(Clone, Copy)]
pub enum Level {
    /// For the operator to know.
    Notice,
    /// For the operator to act on.
    Warning,
}

/// Writes a line to the server's log. May be called from any thread.
pub fn log(level: Level, text: &str) {
    let level = match level {
        Level::Notice => c"notice",
        Level::Warning => c"warning",
    };
    let text = c_text(text);
    // SAFETY: the strings live until the call returns, and "%s" takes one string.
    unsafe { call!(RedisModule_Log(detached(), level.as_ptr(), c"%s".as_ptr(), text.as_ptr())) }
}

/// A C string of this text. A NUL byte and what follows it are cut off.
pub(super) fn c_text(text: &str) -> CString {
    CString::new(text.split('\0').next().unwrap_or_default()).unwrap_or_default()
}

/// The context without a client; null before [`create_detached`].
pub(super) fn detached() -> *mut RawCtx {
    DETACHED.get().get()
}

/// Makes the context without a client.
///
/// # Safety
/// `ctx` is the context of the load.
pub(super) unsafe fn create_detached(ctx: *mut RawCtx) {
    // SAFETY: the caller vouches for the context. What is made lives until the process ends.
    DETACHED.get().set(unsafe { call!(RedisModule_GetDetachedThreadSafeContext(ctx)) });
}

/// Frees what [`create_detached`] made, when the load fails.
pub fn free_detached() {
    let detached = DETACHED.get().replace(ptr::null_mut());
    if !detached.is_null() {
        // SAFETY: made at the beginning of the load, and freed once.
        unsafe { call!(RedisModule_FreeThreadSafeContext(detached)) };
    }
}
