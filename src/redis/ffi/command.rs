//! Commands: how the server calls them, and what COMMAND INFO, COMMAND DOCS and COMMAND GETKEYS say of them.

use std::ffi::{c_char, c_int, CStr, CString};
use std::mem::{size_of, MaybeUninit};
use std::ptr;

use redis_module::raw;

use super::api::{call, RawCtx, RawString, OK};
use super::context::Ctx;
use super::strings::StringRef;
use crate::wire::{OptionGroup, OptionRow, Takes};

/// What a command does.
pub trait OnCommand {
    /// Runs the command. The first argument is its name. Must not panic.
    fn run(ctx: Ctx, argv: &[StringRef]);
}

/// What the server calls for a command.
pub type Entry = unsafe extern "C" fn(*mut RawCtx, *mut *mut RawString, c_int) -> c_int;

/// The server calls this for the command `C`.
pub unsafe extern "C" fn entry<C: OnCommand>(ctx: *mut RawCtx, argv: *mut *mut RawString, argc: c_int) -> c_int {
    // SAFETY: Redis lends the context for the call.
    let ctx = unsafe { Ctx::new(ctx) };
    // SAFETY: Redis passes `argc` live strings.
    C::run(ctx, unsafe { StringRef::arguments(argv, argc) });
    OK
}

/// The server calls this for the command `C`, whose keys follow their number. Redis 7.0 and 7.2 find the keys of a module's
/// command for the cluster by asking the command itself, and not by what it was told of them.
pub unsafe extern "C" fn entry_of_several<C: OnCommand>(
    ctx: *mut RawCtx,
    argv: *mut *mut RawString,
    argc: c_int,
) -> c_int {
    // SAFETY: Redis lends the context for the call.
    if unsafe { call!(RedisModule_IsKeysPositionRequest(ctx)) } == 0 {
        // SAFETY: what the caller passed.
        return unsafe { entry::<C>(ctx, argv, argc) };
    }
    // SAFETY: Redis passes `argc` live strings.
    let argv = unsafe { StringRef::arguments(argv, argc) };
    let (count, last) = (argv.get(1).and_then(|count| count.decimal()).unwrap_or(0), argc.saturating_sub(1));
    for place in (2..=last).take(count) {
        // SAFETY: the context is that of the question, and the place is that of an argument.
        unsafe { call!(RedisModule_KeyAtPosWithFlags(ctx, place, RW as c_int)) };
    }
    OK
}

/// What a command that changes its keys does to them.
const RW: u32 = raw::REDISMODULE_CMD_KEY_RW | raw::REDISMODULE_CMD_KEY_ACCESS | raw::REDISMODULE_CMD_KEY_UPDATE;

/// What a command does to the key that is its first argument, or to the keys whose number is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyUse {
    /// It has no key.
    None,
    /// It reads the key.
    Read,
    /// It reads and changes the key.
    ReadWrite,
    /// It reads and changes several keys. Their number comes first.
    ReadWriteSeveral,
}

/// All that the server is told of a command.
pub struct CommandRow {
    /// Its name, in lower case.
    pub name: &'static CStr,
    /// Its flags, in the words of RM_CreateCommand.
    pub flags: &'static CStr,
    /// Redis's own ACL categories of the command, if modules may name them.
    pub categories: &'static str,
    /// Whether clients use it, and so find it in the module's own ACL category.
    pub audience: Audience,
    /// What it does to its key.
    pub key: KeyUse,
    /// What the server calls.
    pub entry: Entry,
    /// What it does, in a sentence or two.
    pub summary: &'static str,
    /// Its time complexity.
    pub complexity: &'static str,
    /// The number of its arguments as COMMAND INFO tells it: with the command's name, and negative for "at least".
    pub arity: c_int,
    /// What follows the name and the key.
    pub args: &'static [Arg],
    /// The options behind these arguments.
    pub options: &'static [OptionGroup],
}

/// Who uses a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// Clients.
    Clients,
    /// The module itself, or its tests.
    Internal,
}

/// An argument that must be given.
pub struct Arg {
    /// Its name.
    pub name: &'static str,
    /// What it is.
    pub kind: ArgKind,
    /// What it means.
    pub summary: &'static str,
}

/// What an argument is.
#[derive(Clone, Copy)]
pub enum ArgKind {
    /// Any bytes.
    Text,
    /// A number.
    Integer,
}

/// Creates the command; false if the server refuses it.
pub fn create(ctx: Ctx, row: &CommandRow) -> bool {
    let key: c_int = match row.key {
        KeyUse::None | KeyUse::ReadWriteSeveral => 0,
        KeyUse::Read | KeyUse::ReadWrite => 1,
    };
    // SAFETY: the strings are copied, and the entry lives as long as the process.
    let status = unsafe {
        call!(RedisModule_CreateCommand(
            ctx.raw(),
            row.name.as_ptr(),
            Some(row.entry),
            row.flags.as_ptr(),
            key,
            key,
            key
        ))
    };
    status == OK && describe(ctx, row)
}

/// A command of the module, or null.
pub(super) fn find(ctx: Ctx, name: &CStr) -> *mut raw::RedisModuleCommand {
    // SAFETY: the context is that of the load.
    unsafe { call!(RedisModule_GetCommand(ctx.raw(), name.as_ptr())) }
}

/// The version of the structures below, as `REDISMODULE_COMMAND_INFO_VERSION` spells it in redismodule.h. It is a static
/// because the server reads it through a pointer.
static VERSION: raw::RedisModuleCommandInfoVersion = raw::RedisModuleCommandInfoVersion {
    version: 1,
    sizeof_historyentry: size_of::<raw::RedisModuleCommandHistoryEntry>(),
    sizeof_keyspec: size_of::<raw::RedisModuleCommandKeySpec>(),
    sizeof_arg: size_of::<raw::RedisModuleCommandArg>(),
};

/// Tells the server about a command that was created; false if it refuses.
fn describe(ctx: Ctx, row: &CommandRow) -> bool {
    let command = find(ctx, row.name);
    if command.is_null() {
        return false;
    }
    let mut docs = Docs::default();
    let (summary, complexity) = (docs.text(row.summary), docs.text(row.complexity));
    let mut args = docs.arguments(row);
    let mut keys = [raw_key(row.key), zeroed()];
    let info = raw::RedisModuleCommandInfo {
        version: &raw const VERSION,
        summary,
        complexity,
        since: c"0.1.0".as_ptr(),
        history: ptr::null_mut(),
        tips: ptr::null(),
        arity: row.arity,
        key_specs: if row.key == KeyUse::None { ptr::null_mut() } else { keys.as_mut_ptr() },
        args: args.as_mut_ptr(),
    };
    // SAFETY: every pointer lives until the call returns, and every array ends with a zeroed element. The server copies
    // everything.
    unsafe { call!(RedisModule_SetCommandInfo(command, &info)) == OK }
}

fn raw_key(usage: KeyUse) -> raw::RedisModuleCommandKeySpec {
    let flags = match usage {
        KeyUse::None => 0,
        KeyUse::Read => raw::REDISMODULE_CMD_KEY_RO | raw::REDISMODULE_CMD_KEY_ACCESS,
        KeyUse::ReadWrite | KeyUse::ReadWriteSeveral => RW,
    };
    let mut key: raw::RedisModuleCommandKeySpec = zeroed();
    key.flags = flags.into();
    key.begin_search_type = raw::RedisModuleKeySpecBeginSearchType_REDISMODULE_KSPEC_BS_INDEX;
    key.bs.index.pos = 1;
    if usage == KeyUse::ReadWriteSeveral {
        key.find_keys_type = raw::RedisModuleKeySpecFindKeysType_REDISMODULE_KSPEC_FK_KEYNUM;
        key.fk.keynum =
            raw::RedisModuleCommandKeySpec__bindgen_ty_2__bindgen_ty_2 { keynumidx: 0, firstkey: 1, keystep: 1 };
    } else {
        key.find_keys_type = raw::RedisModuleKeySpecFindKeysType_REDISMODULE_KSPEC_FK_RANGE;
        key.fk.range = raw::RedisModuleCommandKeySpec__bindgen_ty_2__bindgen_ty_1 { lastkey: 0, keystep: 1, limit: 0 };
    }
    key
}

/// Keeps what the server's structures point to.
#[derive(Default)]
struct Docs {
    texts: Vec<CString>,
    lists: Vec<Vec<raw::RedisModuleCommandArg>>,
}

impl Docs {
    fn text(&mut self, text: &str) -> *const c_char {
        let text = CString::new(text).unwrap_or_default();
        let start = text.as_ptr();
        self.texts.push(text);
        start
    }

    /// The arguments of a command, and a zeroed element at the end.
    fn arguments(&mut self, row: &CommandRow) -> Vec<raw::RedisModuleCommandArg> {
        let mut args = Vec::new();
        let is_several = row.key == KeyUse::ReadWriteSeveral;
        if is_several {
            let kind = raw::RedisModuleCommandArgType_REDISMODULE_ARG_TYPE_INTEGER;
            args.push(self.argument("numkeys", kind, "The number of locks, 1 to 64."));
        }
        if row.key != KeyUse::None {
            let summary = if is_several { "The locks, each once." } else { "The lock." };
            let mut key = self.argument("key", raw::RedisModuleCommandArgType_REDISMODULE_ARG_TYPE_KEY, summary);
            key.key_spec_index = 0;
            key.flags = if is_several { raw::REDISMODULE_CMD_ARG_MULTIPLE as c_int } else { 0 };
            args.push(key);
        }
        args.extend(row.args.iter().map(|arg| {
            let kind = match arg.kind {
                ArgKind::Text => raw::RedisModuleCommandArgType_REDISMODULE_ARG_TYPE_STRING,
                ArgKind::Integer => raw::RedisModuleCommandArgType_REDISMODULE_ARG_TYPE_INTEGER,
            };
            self.argument(arg.name, kind, arg.summary)
        }));
        args.extend(row.options.iter().map(|group| optional(self.group(group))));
        args.push(zeroed());
        args
    }

    fn argument(
        &mut self,
        name: &str,
        kind: raw::RedisModuleCommandArgType,
        summary: &str,
    ) -> raw::RedisModuleCommandArg {
        let mut arg: raw::RedisModuleCommandArg = zeroed();
        arg.name = self.text(name);
        arg.key_spec_index = -1;
        arg.summary = self.text(summary);
        arg.type_ = kind;
        arg
    }

    fn option(&mut self, option: &OptionRow) -> raw::RedisModuleCommandArg {
        let kind = match option.takes {
            Takes::Nothing => raw::RedisModuleCommandArgType_REDISMODULE_ARG_TYPE_PURE_TOKEN,
            Takes::Number => raw::RedisModuleCommandArgType_REDISMODULE_ARG_TYPE_INTEGER,
            Takes::Text => raw::RedisModuleCommandArgType_REDISMODULE_ARG_TYPE_STRING,
            Takes::OneOf(_) => raw::RedisModuleCommandArgType_REDISMODULE_ARG_TYPE_ONEOF,
        };
        let mut arg = self.argument(option.name, kind, option.summary);
        arg.token = self.text(option.word);
        if let Takes::OneOf(words) = option.takes {
            let mut choices: Vec<_> = words.iter().map(|word| self.option(word)).collect();
            choices.push(zeroed());
            arg.subargs = choices.as_mut_ptr();
            self.lists.push(choices);
        }
        arg
    }

    fn group(&mut self, group: &OptionGroup) -> raw::RedisModuleCommandArg {
        let (name, kind, summary, mut parts) = match group {
            OptionGroup::Single(option) => return self.option(option),
            OptionGroup::OneOf { name, summary, options } => {
                let kind = raw::RedisModuleCommandArgType_REDISMODULE_ARG_TYPE_ONEOF;
                let parts: Vec<_> = options.iter().map(|option| self.option(option)).collect();
                (name, kind, summary, parts)
            }
            OptionGroup::Block { name, summary, first, others } => {
                let kind = raw::RedisModuleCommandArgType_REDISMODULE_ARG_TYPE_BLOCK;
                let mut parts = vec![self.option(first)];
                parts.extend(others.iter().map(|group| optional(self.group(group))));
                (name, kind, summary, parts)
            }
        };
        parts.push(zeroed());
        let mut arg = self.argument(name, kind, summary);
        arg.subargs = parts.as_mut_ptr();
        self.lists.push(parts);
        arg
    }
}

fn optional(mut arg: raw::RedisModuleCommandArg) -> raw::RedisModuleCommandArg {
    arg.flags = raw::REDISMODULE_CMD_ARG_OPTIONAL as c_int;
    arg
}

/// A C structure of null pointers and zeroes. It ends the server's arrays.
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
