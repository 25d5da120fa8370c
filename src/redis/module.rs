//! What happens when the server loads the module.

use std::ffi::{c_int, CStr};

use redis_module::raw;

use super::api::{self, call, Ctx, Level, RawCtx, RawString};
use super::{alarm, command_info, commands, events, guard, state, value};

/// The module's name in MODULE LIST and in configuration names.
const NAME: &CStr = c"redislock";
/// The module's version in MODULE LIST: major * 10000 + minor * 100 + patch.
const VERSION: c_int = 100;

/// The only symbol the server looks for.
///
/// # Safety
/// Called by Redis with a live context and `argc` live strings.
#[no_mangle]
pub unsafe extern "C" fn RedisModule_OnLoad(ctx: *mut RawCtx, _argv: *mut *mut RawString, argc: c_int) -> c_int {
    const ERR: c_int = raw::REDISMODULE_ERR as c_int;
    // Fills in the server's functions, the allocator's among them: nothing may allocate before.
    // SAFETY: the context is that of the load.
    let init = unsafe { raw::Export_RedisModule_Init(ctx, NAME.as_ptr(), VERSION, raw::REDISMODULE_APIVER_1 as c_int) };
    if init != raw::REDISMODULE_OK as c_int {
        return ERR;
    }
    guard::guard("loading the module", ERR, || {
        // SAFETY: Redis lends the context for the call.
        match load(unsafe { Ctx::new(ctx) }, argc) {
            Ok(()) => raw::REDISMODULE_OK as c_int,
            Err(why) => {
                api::log(Level::Warning, &format!("the module cannot be loaded: {why}"));
                ERR
            }
        }
    })
}

fn load(ctx: Ctx, argc: c_int) -> Result<(), String> {
    let missing = api::missing();
    if !missing.is_empty() {
        return Err(format!("this server is too old, Redis 7.0 is needed; it lacks {}", missing.join(", ")));
    }
    api::remember_module(ctx);
    guard::install_panic_log();
    if argc > 0 {
        return Err("it takes no arguments".into());
    }
    state::create_engine();
    let options = raw::REDISMODULE_OPTIONS_HANDLE_IO_ERRORS
        | raw::REDISMODULE_OPTIONS_HANDLE_REPL_ASYNC_LOAD
        | NO_IMPLICIT_SIGNAL_MODIFIED;
    // SAFETY: the context is that of the load.
    unsafe { call!(RedisModule_SetModuleOptions(ctx.raw(), options.cast_signed())) };
    if !value::register(ctx) {
        return Err("the data type redislock was refused".into());
    }
    for row in commands::TABLE {
        create_command(ctx, row)?;
    }
    if !events::subscribe(ctx) {
        return Err("the server's events were refused".into());
    }
    // Above every fence that a server of this data set may have given before: see src/lock/fence.rs.
    state::with_engine(|engine| engine.fences().leap(api::now().unix));
    state::with_inbox(|inbox| inbox.announce_fence = true);
    alarm::kick();
    Ok(())
}

/// `REDISMODULE_OPTION_NO_IMPLICIT_SIGNAL_MODIFIED`, which the bindings leave out: a key that was opened for writing is
/// not taken for changed.
const NO_IMPLICIT_SIGNAL_MODIFIED: u32 = 1 << 1;

fn create_command(ctx: Ctx, row: &commands::Row) -> Result<(), String> {
    let step = c_int::from(row.key != 0);
    // SAFETY: the strings are copied, and the entry lives as long as the process.
    let status = unsafe {
        call!(RedisModule_CreateCommand(
            ctx.raw(),
            row.name.as_ptr(),
            Some(row.entry),
            row.flags.as_ptr(),
            row.key,
            row.key,
            step
        ))
    };
    if status != raw::REDISMODULE_OK as c_int || !command_info::set(ctx, row.name, row.info) {
        return Err(format!("the command {:?} was refused", row.name));
    }
    Ok(())
}
