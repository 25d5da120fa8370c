//! Notices when a node of a cluster changes its configuration, which says which node owns which slots.
//!
//! Today's servers have no event for that. But a node writes its configuration file in the iteration of the event loop in
//! which the configuration changes, before it tells anybody of the change. The kernel reports the written file before it
//! reports what clients send afterwards. So when a client has heard that a slot came, the module knows it too. One thing
//! goes unnoticed: a slot that leaves and comes back by hand, without a new epoch, within one iteration of the event loop.
//!
//! If the kernel does not report it (it has run out of watches, or the file is elsewhere by now), the engine still looks
//! once a second; see `src/engine/settled_slots.rs`.

use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::ffi::inotify::{self, OnWritten};
use super::ffi::{log, Ctx, Level};
use super::server::TimerServer;
use super::state;

/// Begins to watch the directory of the configuration file: old servers write the file in place, new ones replace it.
pub fn watch(ctx: Ctx) {
    let begun = ctx
        .config(b"cluster-config-file", directory)
        .flatten()
        .is_some_and(|directory| inotify::watch::<Configuration>(&directory));
    if !begun {
        log(
            Level::Notice,
            "the cluster's configuration file cannot be watched: a slot that comes is noticed within a second",
        );
    }
}

/// The directory of this file. A relative path is right, because Redis enters its working directory before it loads
/// modules.
fn directory(file: &[u8]) -> Option<CString> {
    let parent = Path::new(OsStr::from_bytes(file)).parent()?;
    let directory = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    CString::new(directory.as_os_str().as_bytes()).ok()
}

struct Configuration;

impl OnWritten for Configuration {
    fn written() {
        state::with_engine(|engine| engine.recheck_slots(&mut TimerServer::new(Ctx::detached())));
    }
}
