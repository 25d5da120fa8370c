//! Whether the server has other modules, which alone call commands. [`crate::policy::caller`] says why that matters.

use super::ffi::Ctx;
use super::state::module;
use crate::policy::caller::{calls_nothing, OtherModules};

/// Looks which modules the server has: at load, and whenever one came. A module that left counts on.
pub fn refresh(ctx: Ctx) {
    if module().other_modules.get() == OtherModules::Absent && !ctx.all_modules(calls_nothing) {
        module().other_modules.set(OtherModules::Present);
    }
}
