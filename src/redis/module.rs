//! What happens when the server loads the module.

use std::ffi::{c_int, CStr, CString};

use redis_module::raw;

use super::api::{self, call, Ctx, Level, RawCtx, RawString};
use super::{
    cluster_config, command_info, commands, events, guard, info, modules, role, settings, state, timer, users, value,
};

/// The module's name in MODULE LIST and in configuration names.
const NAME: &CStr = c"redislock";
/// The module's version in MODULE LIST: major * 10000 + minor * 100 + patch.
const VERSION: c_int = 100;

/// The only symbol the server looks for.
///
/// # Safety
/// Called by Redis with a live context and `argc` live strings.
#[no_mangle]
pub unsafe extern "C" fn RedisModule_OnLoad(ctx: *mut RawCtx, argv: *mut *mut RawString, argc: c_int) -> c_int {
    const ERR: c_int = raw::REDISMODULE_ERR as c_int;
    // Fills in the server's functions, the allocator's among them: nothing may allocate before.
    // SAFETY: the context is that of the load.
    let init = unsafe { raw::Export_RedisModule_Init(ctx, NAME.as_ptr(), VERSION, raw::REDISMODULE_APIVER_1 as c_int) };
    if init != raw::REDISMODULE_OK as c_int {
        return ERR;
    }
    guard::guard("loading the module", ERR, || {
        let args = || match usize::try_from(argc) {
            // SAFETY: Redis passes `argc` live strings.
            Ok(argc) if argc > 0 => unsafe { std::slice::from_raw_parts(argv, argc) }
                .iter()
                // SAFETY: as above.
                .map(|arg| unsafe { api::bytes(*arg) })
                .collect(),
            _ => Vec::new(),
        };
        // SAFETY: Redis lends the context for the call.
        match load(unsafe { Ctx::new(ctx) }, args) {
            Ok(()) => raw::REDISMODULE_OK as c_int,
            Err(why) => {
                api::log(Level::Warning, &format!("the module cannot be loaded: {why}"));
                // The server unloads the module, and nothing knows of these any more.
                state::drop_engine();
                api::forget_module();
                ERR
            }
        }
    })
}

fn load<'a>(ctx: Ctx, args: impl FnOnce() -> Vec<&'a [u8]>) -> Result<(), String> {
    // Before any of them is called: nothing looks again. (The log every server has that loads modules.)
    let missing = api::missing();
    if !missing.is_empty() {
        return Err(format!("this server is too old, Redis 7.0 is needed; it lacks {}", missing.join(", ")));
    }
    api::remember_module(ctx);
    guard::install_panic_log();
    state::remember_main_thread();
    role::set(ctx.flags().is_replica());
    modules::look(ctx);
    state::create_engine();
    // What the operator wrote comes first: a server does not take back events, timers and commands of a load that fails.
    settings::register(ctx, &args())?;
    if ctx.flags().is_cluster() {
        state::with_engine(|engine| engine.join_cluster());
        cluster_config::watch(ctx);
    }
    let mut options = raw::REDISMODULE_OPTIONS_HANDLE_IO_ERRORS
        | raw::REDISMODULE_OPTIONS_HANDLE_REPL_ASYNC_LOAD
        | NO_IMPLICIT_SIGNAL_MODIFIED;
    if api::is_valkey(ctx) {
        options |= VALKEY_HANDLE_ATOMIC_SLOT_MIGRATION;
    }
    // SAFETY: the context is that of the load.
    unsafe { call!(RedisModule_SetModuleOptions(ctx.raw(), options.cast_signed())) };
    if !value::register(ctx) {
        return Err("the data type redislock was refused".into());
    }
    let category = add_category(ctx);
    for row in commands::TABLE {
        create_command(ctx, row, category)?;
    }
    if !events::subscribe(ctx) || !info::register(ctx) {
        return Err("the server's events were refused".into());
    }
    if ctx.evicts_any_key() {
        api::log(
            Level::Warning,
            "maxmemory-policy is allkeys-*: under memory pressure the server evicts locks that are held; use noeviction or \
             a volatile-* policy",
        );
    }
    users::prepare();
    // Above every fence that a server of this data set may have given before: see src/lock/fence.rs.
    state::with_engine(|engine| engine.begin_term(api::now()));
    state::with_inbox(|inbox| inbox.announce_fence = true);
    timer::kick();
    Ok(())
}

/// `REDISMODULE_OPTION_NO_IMPLICIT_SIGNAL_MODIFIED`, which the bindings leave out: a key that was opened for writing is
/// not taken for changed.
const NO_IMPLICIT_SIGNAL_MODIFIED: u32 = 1 << 1;

/// `VALKEYMODULE_OPTIONS_HANDLE_ATOMIC_SLOT_MIGRATION` of Valkey 9: without it CLUSTER MIGRATESLOTS is refused. Keys of a
/// slot that comes in are other clients' to see only when it has come: nothing is granted or ended there before, because
/// the server says that the slot is not its own. Redis and older Valkeys have no such option.
const VALKEY_HANDLE_ATOMIC_SLOT_MIGRATION: u32 = 1 << 5;

/// Makes the ACL category of the module's commands, where the server lets modules have one; its name.
fn add_category(ctx: Ctx) -> Option<&'static str> {
    // SAFETY: the pointer was written at load, on this thread.
    let add = unsafe { raw::RedisModule_AddACLCategory }?;
    // SAFETY: the context is that of the load, and the name is copied.
    let status = unsafe { add(ctx.raw(), c"lock".as_ptr()) };
    (status == raw::REDISMODULE_OK as c_int).then_some("lock")
}

fn create_command(ctx: Ctx, row: &commands::Row, category: Option<&str>) -> Result<(), String> {
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
    set_categories(ctx, row, category)
}

/// Puts a command into its ACL categories, where the server lets modules do so (Redis 7.2).
fn set_categories(ctx: Ctx, row: &commands::Row, category: Option<&str>) -> Result<(), String> {
    // SAFETY: the pointer was written at load, on this thread.
    let Some(set) = (unsafe { raw::RedisModule_SetCommandACLCategories }) else { return Ok(()) };
    let own = if row.is_internal() { None } else { category };
    let names: Vec<&str> = [row.categories].into_iter().chain(own).collect();
    let names = CString::new(names.join(" ")).unwrap_or_default();
    // SAFETY: the context is that of the load, and the command was created before.
    let command = unsafe { call!(RedisModule_GetCommand(ctx.raw(), row.name.as_ptr())) };
    // SAFETY: the names are read before the call returns.
    if unsafe { set(command, names.as_ptr()) } != raw::REDISMODULE_OK as c_int {
        return Err(format!("the ACL categories of {:?} were refused", row.name));
    }
    Ok(())
}
