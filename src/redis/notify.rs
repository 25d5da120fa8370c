//! Keyspace events of the module class.
//!
//! The server calls other modules' callbacks at once, and these may do anything to the key. So events are published when
//! the key is closed and the engine at rest.

use std::ffi::CStr;

use super::api::{Ctx, RawString};
use super::key::with_name;
use crate::engine::{KeyEvent, KeyId};

/// What happened to the key of a command.
pub fn notify_of_command(ctx: Ctx, key: *mut RawString, events: &[KeyEvent]) {
    for event in events {
        ctx.publish(name(*event), key);
    }
}

/// What happened in the timer's tick. Leaves another database selected.
pub fn notify_of_tick(ctx: Ctx, events: Vec<(KeyId, KeyEvent)>) {
    for (key, event) in events {
        if ctx.select_db(key.db()) {
            with_name(key.name(), |key| ctx.publish(name(event), key));
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
    }
}
