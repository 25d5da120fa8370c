//! Keyspace events of the module class.
//!
//! The server calls other modules' callbacks at once, and these may do anything to the key. So events are sent when the key is
//! closed and the engine at rest.

use std::ffi::CStr;

use super::ffi::strings::{ServerString, StringRef};
use super::ffi::Ctx;
use crate::engine::{KeyEvent, KeyId};

/// Notifies subscribers of what happened to the key of a command.
pub fn notify_of_command(ctx: Ctx, key: StringRef, events: &[KeyEvent]) {
    for event in events {
        ctx.notify(name(*event), key);
    }
}

/// Notifies subscribers of what happened in a tick of the timer, or in a command with several keys. Leaves another database
/// selected if the keys are in others.
pub fn notify_of_keys(ctx: Ctx, events: Vec<(KeyId, KeyEvent)>) {
    for (key, event) in events {
        if ctx.select_db(key.db()) {
            ctx.notify(name(event), ServerString::new(key.name()).as_ref());
        }
    }
}

fn name(event: KeyEvent) -> &'static CStr {
    match event {
        KeyEvent::Acquire => c"lock.acquire",
        KeyEvent::Release => c"lock.release",
        KeyEvent::Extend => c"lock.extend",
        KeyEvent::Expire => c"lock.expire",
        KeyEvent::Session => c"lock.session",
        KeyEvent::Downgrade => c"lock.downgrade",
        KeyEvent::Cooled => c"lock.cooled",
        KeyEvent::Contended => c"lock.contended",
    }
}
