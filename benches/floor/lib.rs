//! The least that a module can do which keeps a value of its own under a key: what its commands cost is the floor under
//! those of any such module.
//!
//! * `FLOOR.NOTHING [argument ...]` answers an integer.
//! * `FLOOR.SET key [argument ...]` puts a value under the key, `FLOOR.DEL key [argument ...]` takes it away. Both tell who has to
//!   be told of a change of a key (WATCH and client-side caching, keyspace events, the counter of changes), and answer an integer.
//!
//! The value is a pointer to nothing: no owner, lease, fence or deadline. No argument but the key is looked at.

#![allow(missing_docs, non_snake_case, reason = "names are the server's")]
#![allow(clippy::unwrap_used, reason = "a missing function ends the benchmark")]

use std::ffi::{c_char, c_int, c_longlong, c_void};
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

use redis_module::raw;

type Entry = unsafe extern "C" fn(*mut raw::RedisModuleCtx, *mut *mut raw::RedisModuleString, c_int) -> c_int;

const OK: c_int = raw::REDISMODULE_OK as c_int;
/// As long as a fence.
const NUMBER: c_longlong = 1_795_687_615_458_516;

static TYPE: AtomicPtr<raw::RedisModuleType> = AtomicPtr::new(ptr::null_mut());

/// Calls a function of the server's.
macro_rules! call {
    ($name:ident ( $($arg:expr),* $(,)? )) => {
        // SAFETY: the pointers were written at load; every caller passes what Redis lent it.
        unsafe { raw::$name.unwrap()($($arg),*) }
    };
}

unsafe extern "C" fn nothing(ctx: *mut raw::RedisModuleCtx, _: *mut *mut raw::RedisModuleString, _: c_int) -> c_int {
    call!(RedisModule_ReplyWithLongLong(ctx, NUMBER))
}

/// The first argument.
fn first(argv: *mut *mut raw::RedisModuleString, argc: c_int) -> Option<*mut raw::RedisModuleString> {
    // SAFETY: Redis passes `argc` strings.
    let args = unsafe { std::slice::from_raw_parts(argv, usize::try_from(argc).ok()?) };
    args.get(1).copied()
}

/// Opens the key, changes it, and tells of it.
fn change(
    ctx: *mut raw::RedisModuleCtx,
    name: *mut raw::RedisModuleString,
    event: *const c_char,
    how: impl FnOnce(*mut raw::RedisModuleKey),
) {
    let mode = (raw::REDISMODULE_READ | raw::REDISMODULE_WRITE) as c_int;
    let key = call!(RedisModule_OpenKey(ctx, name, mode));
    how(key);
    call!(RedisModule_ReplicateVerbatim(ctx));
    call!(RedisModule_SignalModifiedKey(ctx, name));
    call!(RedisModule_CloseKey(key));
    call!(RedisModule_NotifyKeyspaceEvent(ctx, raw::REDISMODULE_NOTIFY_MODULE as c_int, event, name));
}

unsafe extern "C" fn set(ctx: *mut raw::RedisModuleCtx, argv: *mut *mut raw::RedisModuleString, argc: c_int) -> c_int {
    let Some(name) = first(argv, argc) else { return call!(RedisModule_WrongArity(ctx)) };
    change(ctx, name, c"floor.set".as_ptr(), |key| {
        call!(RedisModule_ModuleTypeSetValue(key, TYPE.load(Ordering::Relaxed), ptr::dangling_mut()));
    });
    call!(RedisModule_ReplyWithLongLong(ctx, NUMBER))
}

unsafe extern "C" fn del(ctx: *mut raw::RedisModuleCtx, argv: *mut *mut raw::RedisModuleString, argc: c_int) -> c_int {
    let Some(name) = first(argv, argc) else { return call!(RedisModule_WrongArity(ctx)) };
    change(ctx, name, c"floor.del".as_ptr(), |key| {
        call!(RedisModule_DeleteKey(key));
    });
    call!(RedisModule_ReplyWithLongLong(ctx, 1))
}

unsafe extern "C" fn load(_: *mut raw::RedisModuleIO, _: c_int) -> *mut c_void {
    ptr::dangling_mut()
}

unsafe extern "C" fn save(_: *mut raw::RedisModuleIO, _: *mut c_void) {}

unsafe extern "C" fn free(_: *mut c_void) {}

/// # Safety
/// Called by Redis, once.
#[no_mangle]
pub unsafe extern "C" fn RedisModule_OnLoad(
    ctx: *mut raw::RedisModuleCtx,
    _: *mut *mut raw::RedisModuleString,
    _: c_int,
) -> c_int {
    // SAFETY: Redis lends the context for the call.
    if unsafe { raw::Export_RedisModule_Init(ctx, c"floor".as_ptr(), 1, raw::REDISMODULE_APIVER_1 as c_int) } != OK {
        return raw::REDISMODULE_ERR as c_int;
    }
    // Changes are told of by hand, and so once.
    call!(RedisModule_SetModuleOptions(ctx, raw::REDISMODULE_OPTION_NO_IMPLICIT_SIGNAL_MODIFIED as c_int));
    // SAFETY: all fields are numbers and functions that may be missing.
    let mut methods: raw::RedisModuleTypeMethods = unsafe { std::mem::zeroed() };
    methods.version = raw::REDISMODULE_TYPE_METHOD_VERSION.into();
    methods.rdb_load = Some(load);
    methods.rdb_save = Some(save);
    methods.free = Some(free);
    TYPE.store(call!(RedisModule_CreateDataType(ctx, c"floor-val".as_ptr(), 0, &mut methods)), Ordering::Relaxed);
    let commands: [(_, Entry, _, c_int); 3] = [
        (c"floor.nothing", nothing, c"fast", 0),
        (c"floor.set", set, c"write deny-oom fast", 1),
        (c"floor.del", del, c"write fast", 1),
    ];
    for (name, entry, flags, key) in commands {
        if call!(RedisModule_CreateCommand(ctx, name.as_ptr(), Some(entry), flags.as_ptr(), key, key, key)) != OK {
            return raw::REDISMODULE_ERR as c_int;
        }
    }
    OK
}
