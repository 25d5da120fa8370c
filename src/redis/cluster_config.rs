//! Tells when a node of a cluster has changed its configuration: which slots are whose.
//!
//! The servers of today have no event for that. But a node writes its configuration file in the iteration of the event loop in
//! which the configuration changes, before anybody is told of the change, and the kernel tells of the written file before it
//! tells of what clients send afterwards. So whoever has heard that a slot came finds that the module knows of it too.
//! What is not seen is a slot that leaves and comes back by hand, without a new epoch, within one iteration of the event loop.
//!
//! Where the kernel does not tell (it has run out of watches, or the file is elsewhere by now), the engine still looks once a
//! second; see `src/engine/settled_slots.rs`.

use std::ffi::{c_int, c_void, CString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;

use redis_module::raw;

use super::api::{self, call, Ctx, Level};
use super::guard::guard;
use super::server::TimerServer;
use super::state;

/// Room for some events at a time; what is in them does not matter.
const ROOM: usize = 4096;

/// Begins to watch the directory of the configuration file: old servers write the file in place, new ones replace it.
pub fn watch(ctx: Ctx) {
    let begun = ctx.config(c"cluster-config-file", directory).flatten().is_some_and(|directory| begin(&directory));
    if !begun {
        api::log(
            Level::Notice,
            "the cluster's configuration file cannot be watched: a slot that comes is noticed within a second",
        );
    }
}

/// The directory of this file. Redis has entered its own before it loads modules.
fn directory(file: &[u8]) -> Option<CString> {
    let parent = Path::new(std::ffi::OsStr::from_bytes(file)).parent()?;
    let directory = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    CString::new(directory.as_os_str().as_bytes()).ok()
}

/// False if the system refuses.
fn begin(directory: &CString) -> bool {
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
        let added = unsafe { call!(RedisModule_EventLoopAdd(events, readable, Some(on_written), ptr::null_mut())) };
        added == raw::REDISMODULE_OK as c_int
    };
    if !is_heard {
        // SAFETY: opened above, and nothing else has it.
        unsafe { libc::close(events) };
    }
    is_heard
}

unsafe extern "C" fn on_written(events: c_int, _: *mut c_void, _: c_int) {
    guard("the cluster's configuration", (), || {
        let mut room = [0u8; ROOM];
        // SAFETY: the descriptor is open as long as the process runs, and so many bytes may be written.
        while unsafe { libc::read(events, room.as_mut_ptr().cast(), ROOM) } > 0 {}
        state::with_engine(|engine| engine.recheck_slots(&mut TimerServer::new(Ctx::detached())));
    });
}
