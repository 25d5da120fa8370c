//! What COMMAND INFO, COMMAND DOCS and COMMAND GETKEYS say: arity, key specs, summaries, arguments.

use std::ffi::{c_char, c_int, CStr};
use std::mem::{size_of, MaybeUninit};
use std::ptr;

use redis_module::raw;

use super::api::{call, Ctx};

/// All that is told of a command.
pub struct CommandInfo {
    summary: &'static CStr,
    complexity: &'static CStr,
    /// As in COMMAND INFO: with the command's name, negative for "at least".
    arity: c_int,
    /// What it does to the key that is its first argument; 0: it has none.
    key: u32,
    args: &'static [Arg],
}

/// An argument.
struct Arg {
    name: &'static CStr,
    kind: Kind,
    token: Option<&'static CStr>,
    summary: Option<&'static CStr>,
    is_optional: bool,
}

/// What an argument is.
enum Kind {
    Key,
    Text,
    Integer,
    /// The token alone.
    Flag,
    OneOf(&'static [Arg]),
    Block(&'static [Arg]),
}

impl Arg {
    const fn must(name: &'static CStr, kind: Kind, summary: &'static CStr) -> Arg {
        Arg { name, kind, token: None, summary: Some(summary), is_optional: false }
    }

    const fn may(name: &'static CStr, token: &'static CStr, summary: &'static CStr) -> Arg {
        Arg { name, kind: Kind::Integer, token: Some(token), summary: Some(summary), is_optional: true }
    }

    const fn flag(name: &'static CStr, token: &'static CStr, summary: &'static CStr) -> Arg {
        Arg { kind: Kind::Flag, ..Arg::may(name, token, summary) }
    }

    const fn one(name: &'static CStr, token: &'static CStr, summary: &'static CStr) -> Arg {
        Arg { is_optional: false, ..Arg::may(name, token, summary) }
    }
}

const READ_WRITE: u32 = raw::REDISMODULE_CMD_KEY_RW | raw::REDISMODULE_CMD_KEY_ACCESS | raw::REDISMODULE_CMD_KEY_UPDATE;

const KEY: Arg = Arg::must(c"key", Kind::Key, c"The lock.");
const LEASE: Arg = Arg {
    name: c"lease",
    kind: Kind::OneOf(&[
        Arg::one(c"milliseconds", c"PX", c"The lease in milliseconds, 1 to 31536000000."),
        Arg::one(c"seconds", c"EX", c"The lease in seconds, 1 to 31536000."),
    ]),
    token: None,
    summary: Some(c"How long the hold lasts unless it is extended."),
    is_optional: true,
};

const READ: u32 = raw::REDISMODULE_CMD_KEY_RO | raw::REDISMODULE_CMD_KEY_ACCESS;

/// LOCK.ACQUIRE
pub const ACQUIRE: CommandInfo = CommandInfo {
    summary:
        c"Acquires a lock and returns its fence, or null when it is busy. Optionally waits for it in a FIFO queue.",
    complexity: c"O(log N) with N being the number of locks and waiters.",
    arity: -3,
    key: READ_WRITE,
    args: &[
        KEY,
        Arg::must(c"owner", Kind::Text, c"Who asks, 1 to 1024 bytes; * lets the server make an owner and return it."),
        LEASE,
        Arg::may(c"wait", c"BLOCK", c"How long to wait for the lock in milliseconds, 0 without limit."),
        Arg {
            name: c"shared",
            kind: Kind::Block(&[
                Arg {
                    is_optional: false,
                    ..Arg::flag(c"shared", c"SHARED", c"Holds it together with other shared holders.")
                },
                Arg::may(c"limit", c"LIMIT", c"Only while fewer than so many hold it, 1 to 1000000."),
            ]),
            token: None,
            summary: Some(c"Held together with others instead of alone."),
            is_optional: true,
        },
        Arg::flag(c"session", c"SESSION", c"The hold also ends when this connection closes."),
    ],
};

/// LOCK.RELEASE
pub const RELEASE: CommandInfo = CommandInfo {
    summary: c"Releases a lock and withdraws the owner's waits for it. Returns 1 if the owner held it, else 0.",
    complexity: c"O(log N) with N being the number of locks and waiters.",
    arity: -3,
    key: READ_WRITE,
    args: &[
        KEY,
        Arg::must(c"owner", Kind::Text, c"Who holds or waits."),
        Arg::may(c"fence", c"FENCE", c"Only the hold with this fence."),
        Arg::flag(c"downgrade", c"DOWNGRADE", c"Makes an exclusive hold a shared one instead of ending it."),
    ],
};

/// LOCK.CHECK
pub const CHECK: CommandInfo = CommandInfo {
    summary: c"Returns the fence and the remaining lease of an owner's hold, or null if it does not hold the lock.",
    complexity: c"O(log N) with N being the number of holders of the lock.",
    arity: 3,
    key: READ,
    args: &[KEY, Arg::must(c"owner", Kind::Text, c"Who holds.")],
};

/// LOCK.INFO
pub const INFO: CommandInfo = CommandInfo {
    summary: c"Returns who holds a lock and who waits for it, or null if it is free.",
    complexity: c"O(1); linear in holders whose lease has just run out.",
    arity: 2,
    key: READ,
    args: &[KEY],
};

/// LOCK.EXTEND
pub const EXTEND: CommandInfo = CommandInfo {
    summary: c"Sets the lease of a lock, counted from now. Returns 1 if the owner holds it, else 0.",
    complexity: c"O(log N) with N being the number of locks and waiters.",
    arity: -3,
    key: READ_WRITE,
    args: &[
        KEY,
        Arg::must(c"owner", Kind::Text, c"Who holds."),
        LEASE,
        Arg::may(c"fence", c"FENCE", c"Only the hold with this fence."),
        Arg::may(c"raise", c"RAISE", c"Raises the fence to this number if it is larger."),
    ],
};

/// LOCK.__APPLY
pub const APPLY: CommandInfo = CommandInfo {
    summary: c"Internal: what a primary tells its replicas and its AOF of a lock.",
    complexity: c"O(log N) with N being the number of locks.",
    arity: 3,
    key: READ_WRITE,
    args: &[KEY, Arg::must(c"effect", Kind::Text, c"What changed.")],
};

/// LOCK.__FENCE
pub const FENCE: CommandInfo = CommandInfo {
    summary: c"Internal: what a primary tells its replicas and its AOF of its fence clock.",
    complexity: c"O(1)",
    arity: 2,
    key: 0,
    args: &[Arg::must(c"number", Kind::Integer, c"How far the clock has come.")],
};

/// The version of the structures below, as `REDISMODULE_COMMAND_INFO_VERSION` spells it in redismodule.h.
static VERSION: raw::RedisModuleCommandInfoVersion = raw::RedisModuleCommandInfoVersion {
    version: 1,
    sizeof_historyentry: size_of::<raw::RedisModuleCommandHistoryEntry>(),
    sizeof_keyspec: size_of::<raw::RedisModuleCommandKeySpec>(),
    sizeof_arg: size_of::<raw::RedisModuleCommandArg>(),
};

/// Tells the server about a command that was created; false if it refuses.
pub fn set(ctx: Ctx, name: &CStr, info: &CommandInfo) -> bool {
    // SAFETY: the context is that of the load.
    let command = unsafe { call!(RedisModule_GetCommand(ctx.raw(), name.as_ptr())) };
    if command.is_null() {
        return false;
    }
    // The server copies everything, so the arrays need only live until the call returns; the nested ones are kept here.
    let mut kept = Vec::new();
    let mut args = raw_args(info.args, &mut kept);
    let mut keys = [raw_key(info.key), zeroed()];
    let raw_info = raw::RedisModuleCommandInfo {
        version: &raw const VERSION,
        summary: info.summary.as_ptr(),
        complexity: info.complexity.as_ptr(),
        since: c"0.1.0".as_ptr(),
        history: ptr::null_mut(),
        tips: ptr::null(),
        arity: info.arity,
        key_specs: if info.key == 0 { ptr::null_mut() } else { keys.as_mut_ptr() },
        args: args.as_mut_ptr(),
    };
    // SAFETY: every pointer lives until the call returns, and every array ends with a zeroed element.
    unsafe { call!(RedisModule_SetCommandInfo(command, &raw_info)) == raw::REDISMODULE_OK as c_int }
}

fn raw_key(flags: u32) -> raw::RedisModuleCommandKeySpec {
    let mut key: raw::RedisModuleCommandKeySpec = zeroed();
    key.flags = flags.into();
    key.begin_search_type = raw::RedisModuleKeySpecBeginSearchType_REDISMODULE_KSPEC_BS_INDEX;
    key.bs.index.pos = 1;
    key.find_keys_type = raw::RedisModuleKeySpecFindKeysType_REDISMODULE_KSPEC_FK_RANGE;
    key.fk.range = raw::RedisModuleCommandKeySpec__bindgen_ty_2__bindgen_ty_1 { lastkey: 0, keystep: 1, limit: 0 };
    key
}

fn raw_args(args: &[Arg], kept: &mut Vec<Vec<raw::RedisModuleCommandArg>>) -> Vec<raw::RedisModuleCommandArg> {
    let mut raws: Vec<_> = args.iter().map(|arg| raw_arg(arg, kept)).collect();
    raws.push(zeroed());
    raws
}

fn raw_arg(arg: &Arg, kept: &mut Vec<Vec<raw::RedisModuleCommandArg>>) -> raw::RedisModuleCommandArg {
    let pointer = |text: Option<&'static CStr>| text.map_or(ptr::null::<c_char>(), CStr::as_ptr);
    let mut raw_arg: raw::RedisModuleCommandArg = zeroed();
    raw_arg.name = arg.name.as_ptr();
    raw_arg.key_spec_index = -1;
    raw_arg.token = pointer(arg.token);
    raw_arg.summary = pointer(arg.summary);
    raw_arg.flags = if arg.is_optional { raw::REDISMODULE_CMD_ARG_OPTIONAL as c_int } else { 0 };
    raw_arg.type_ = match arg.kind {
        Kind::Key => raw::RedisModuleCommandArgType_REDISMODULE_ARG_TYPE_KEY,
        Kind::Text => raw::RedisModuleCommandArgType_REDISMODULE_ARG_TYPE_STRING,
        Kind::Integer => raw::RedisModuleCommandArgType_REDISMODULE_ARG_TYPE_INTEGER,
        Kind::Flag => raw::RedisModuleCommandArgType_REDISMODULE_ARG_TYPE_PURE_TOKEN,
        Kind::OneOf(_) => raw::RedisModuleCommandArgType_REDISMODULE_ARG_TYPE_ONEOF,
        Kind::Block(_) => raw::RedisModuleCommandArgType_REDISMODULE_ARG_TYPE_BLOCK,
    };
    match arg.kind {
        Kind::Key => raw_arg.key_spec_index = 0,
        Kind::Text | Kind::Integer | Kind::Flag => {}
        Kind::OneOf(choices) | Kind::Block(choices) => {
            let mut choices = raw_args(choices, kept);
            raw_arg.subargs = choices.as_mut_ptr();
            kept.push(choices);
        }
    }
    raw_arg
}

/// A C structure of null pointers and zeroes: what ends the server's arrays.
fn zeroed<T: ZeroIsNothing>() -> T {
    // SAFETY: the trait says that all-zero bytes are a value.
    unsafe { MaybeUninit::zeroed().assume_init() }
}

/// Structures for which all-zero bytes are a value.
///
/// # Safety
/// Every field is a number, a raw pointer, or a union of such.
unsafe trait ZeroIsNothing {}
// SAFETY: pointers, numbers and unions of numbers and pointers.
unsafe impl ZeroIsNothing for raw::RedisModuleCommandKeySpec {}
// SAFETY: pointers and numbers.
unsafe impl ZeroIsNothing for raw::RedisModuleCommandArg {}
