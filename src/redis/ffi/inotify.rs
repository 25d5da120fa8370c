//! Files that are written in a directory, told by the kernel through the server's event loop.

use std::ffi::{c_int, c_void, CStr};
use std::ptr;

use redis_module::raw;

use super::api::{call, OK};
use super::guard::guard;

/// Room for some events at a time, in bytes. Their content does not matter.
const ROOM: usize = 4096;

/// Hears of written files.
pub trait OnWritten {
    /// One or more files of the directory were written or replaced.
    fn written();
}

/// Begins to watch a directory, for as long as the process lives; false if the system or the server refuses.
pub fn watch<W: OnWritten>(directory: &CStr) -> bool {
    // SAFETY: a function that takes flags only.
    let events = unsafe { libc::inotify_init1(libc::IN_NONBLOCK | libc::IN_CLOEXEC) };
    if events < 0 {
        return false;
    }
    const WRITTEN: u32 = libc::IN_CLOSE_WRITE | libc::IN_MOVED_TO;
    // SAFETY: the descriptor was opened above, and the path is read before the call returns.
    let is_watched = unsafe { libc::inotify_add_watch(events, directory.as_ptr(), WRITTEN) } >= 0;
    let readable = raw::REDISMODULE_EVENTLOOP_READABLE as c_int;
    let is_heard = is_watched && {
        // SAFETY: the callback lives as long as the process and takes no data.
        let added =
            unsafe { call!(RedisModule_EventLoopAdd(events, readable, Some(on_written::<W>), ptr::null_mut())) };
        added == OK
    };
    if !is_heard {
        // SAFETY: opened above, and nothing else has it.
        unsafe { libc::close(events) };
    }
    is_heard
}

unsafe extern "C" fn on_written<W: OnWritten>(events: c_int, _: *mut c_void, _: c_int) {
    guard("the cluster's configuration", (), || {
        let mut room = [0u8; ROOM];
        // SAFETY: the descriptor is open as long as the process runs, and so many bytes may be written.
        while unsafe { libc::read(events, room.as_mut_ptr().cast(), ROOM) } > 0 {}
        W::written();
    });
}
