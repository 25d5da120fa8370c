//! Whether the server has other modules. Only modules can call commands; [`crate::policy::caller`] says why that matters.

use super::ffi::Ctx;
use super::state::module;
use crate::policy::caller::{calls_nothing, OtherModules};

/// Looks which modules the server has. To be called at load, and whenever a module is loaded. A module that was unloaded
/// still counts.
pub fn refresh(ctx: Ctx) {
    if module().other_modules.get() == OtherModules::Absent && !ctx.all_modules(calls_nothing) {
        module().other_modules.set(OtherModules::Present);
    }
}
