//! Whether the server has other modules.
//!
//! Only they call commands (RM_Call), and such a call may look like a command of a connection that it has nothing to do with:
//! the server lends it a client from a pool, and one that served a thread of a module there keeps the id of the connection for
//! which it did.

use std::cell::Cell;
use std::ffi::c_int;

use redis_module::raw;

use super::api::{call, Ctx};
use super::state::MainThread;

/// This module, and those that Redis and Valkey are shipped with: they call no commands of others, but for scripts.
const NO_CALLERS: [&[u8]; 9] =
    [b"redislock", b"vectorset", b"lua", b"search", b"ReJSON", b"json", b"timeseries", b"bf", b"ldap"];

static OTHERS: MainThread<Cell<bool>> = MainThread::new(Cell::new(false));

/// Whether there are other modules, or ever were: what they left in the pool stays there.
pub fn others() -> bool {
    OTHERS.get().get()
}

/// Looks which modules there are: at load, and whenever one came.
pub fn look(ctx: Ctx) {
    if others() {
        return;
    }
    // SAFETY: the format takes one C string.
    let list = unsafe { call!(RedisModule_Call(ctx.raw(), c"MODULE".as_ptr(), c"c".as_ptr(), c"LIST".as_ptr())) };
    if list.is_null() {
        OTHERS.get().set(true);
        return;
    }
    // SAFETY: the reply is live until it is freed below.
    let len = unsafe { call!(RedisModule_CallReplyLength(list)) };
    OTHERS.get().set((0..len).any(|n| !calls_nothing(list, n)));
    // SAFETY: freed once, and its elements with it.
    unsafe { call!(RedisModule_FreeCallReply(list)) };
}

/// Whether the n-th module of MODULE LIST is one of those that call nothing.
fn calls_nothing(list: *mut raw::RedisModuleCallReply, n: usize) -> bool {
    // SAFETY: the reply is live.
    let entry = unsafe { call!(RedisModule_CallReplyArrayElement(list, n)) };
    if entry.is_null() {
        return false;
    }
    // Its name follows the word "name".
    // SAFETY: as above.
    let name = unsafe { call!(RedisModule_CallReplyArrayElement(entry, 1)) };
    // SAFETY: as above.
    if name.is_null() || unsafe { call!(RedisModule_CallReplyType(name)) } != raw::REDISMODULE_REPLY_STRING as c_int {
        return false;
    }
    let mut len = 0;
    // SAFETY: as above.
    let text = unsafe { call!(RedisModule_CallReplyStringPtr(name, &mut len)) };
    // SAFETY: so many bytes belong to the reply.
    !text.is_null() && NO_CALLERS.contains(&unsafe { std::slice::from_raw_parts(text.cast::<u8>(), len) })
}
