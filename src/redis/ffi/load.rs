//! The module's load.

use std::ffi::{c_int, CStr};

use redis_module::raw;

use super::api::{self, RawCtx, RawString, ERR, OK};
use super::context::Ctx;
use super::guard;
use super::log::{self, Level};
use super::main_thread;
use super::strings::StringRef;

/// What the server is told of the module, and what is done at load.
pub trait Module {
    /// The module's name in MODULE LIST and in configuration names.
    const NAME: &'static CStr;
    /// The module's version in MODULE LIST: major * 10000 + minor * 100 + patch.
    const VERSION: c_int;

    /// Loads the module, with the arguments of `loadmodule`.
    fn load(ctx: Ctx, args: &[StringRef]) -> Result<(), String>;
    /// Frees what [`Module::load`] made before it failed.
    fn unload();
}

/// Makes the server's functions known to the module, and loads it. Returns what RedisModule_OnLoad is to return.
///
/// # Safety
/// `ctx` is the context of the load, and `argv` points to `argc` live strings.
pub unsafe fn on_load<M: Module>(ctx: *mut RawCtx, argv: *mut *mut RawString, argc: c_int) -> c_int {
    // Fills in the server's functions, the allocator's among them: nothing may allocate before.
    // SAFETY: the caller vouches for the context.
    let init =
        unsafe { raw::Export_RedisModule_Init(ctx, M::NAME.as_ptr(), M::VERSION, raw::REDISMODULE_APIVER_1 as c_int) };
    if init != OK {
        return ERR;
    }
    guard::guard("loading the module", ERR, || {
        // Before any other function is called, because no call checks its pointer again. (Every server that loads modules
        // has the log.)
        let missing = api::missing();
        let loaded = if missing.is_empty() {
            // SAFETY: the caller vouches for the context.
            unsafe { log::create_detached(ctx) };
            guard::install_panic_log();
            main_thread::remember_main_thread();
            // SAFETY: Redis lends the context for the call.
            let ctx = unsafe { Ctx::new(ctx) };
            // SAFETY: the caller vouches for the strings.
            M::load(ctx, unsafe { StringRef::arguments(argv, argc) })
        } else {
            Err(format!("this server is too old, Redis 7.0 is needed; it lacks {}", missing.join(", ")))
        };
        match loaded {
            Ok(()) => OK,
            Err(why) => {
                log::log(Level::Warning, &format!("the module cannot be loaded: {why}"));
                // The server unloads the module, and nothing knows of its data any more.
                M::unload();
                log::free_detached();
                ERR
            }
        }
    })
}
