//! ACL users, and the ACL categories of commands.

use std::ffi::{c_int, c_void, CStr, CString};
use std::ptr::{self, NonNull};

use redis_module::raw;
use smallvec::SmallVec;

use super::api::{call, OK};
use super::context::Ctx;
use super::strings::{ServerString, StringRef};

/// The module's handle of an ACL user, until it is dropped. The user itself stays.
struct AclUser(NonNull<raw::RedisModuleUser>);

impl AclUser {
    /// The user of this name; `None` if the server knows none.
    fn find(name: &ServerString) -> Option<AclUser> {
        // SAFETY: a live string.
        let user = unsafe { call!(RedisModule_GetModuleUserFromUserName(name.as_ref().raw())) };
        NonNull::new(user).map(AclUser)
    }

    fn may_run(&self, words: &[StringRef], ctx: Ctx, check: Option<CheckInDatabase>) -> bool {
        let mut argv: SmallVec<[_; 4]> = words.iter().map(|word| word.raw()).collect();
        let (start, len) = (argv.as_mut_ptr(), argv.len() as c_int);
        let user = self.0.as_ptr();
        let answer = match check {
            // SAFETY: the user and the strings are live; the reason of a denial is not asked for.
            Some(CheckInDatabase(check)) => unsafe { check(user, start, len, ctx.db(), ptr::null_mut()) },
            // SAFETY: as above.
            None => unsafe { call!(RedisModule_ACLCheckCommandPermissions(user, start, len)) },
        };
        answer == OK
    }
}

impl Drop for AclUser {
    fn drop(&mut self) {
        // SAFETY: found by `find`, and freed once.
        unsafe { call!(RedisModule_FreeModuleUser(self.0.as_ptr())) };
    }
}

/// Who reads keys: an ACL user, or the server itself.
pub struct Reader(ReaderKind);

enum ReaderKind {
    User(AclUser),
    /// The user was deleted.
    Nobody,
    Everybody,
}

impl Reader {
    /// The ACL user of this name.
    pub fn named(name: &[u8]) -> Reader {
        Reader(AclUser::find(&ServerString::new(name)).map_or(ReaderKind::Nobody, ReaderKind::User))
    }

    /// A module that calls a command without a user: it may read everything.
    pub const UNBOUNDED: Reader = Reader(ReaderKind::Everybody);

    /// Whether the key of this name may be read.
    pub fn may_read(&self, name: StringRef) -> bool {
        const READ: c_int = raw::REDISMODULE_CMD_KEY_ACCESS as c_int;
        match &self.0 {
            // SAFETY: the user and the string are live.
            ReaderKind::User(user) => unsafe {
                call!(RedisModule_ACLCheckKeyPermissions(user.0.as_ptr(), name.raw(), READ)) == OK
            },
            ReaderKind::Nobody => false,
            ReaderKind::Everybody => true,
        }
    }
}

/// An ACL user by its name.
pub struct NamedUser {
    name: ServerString,
    /// Only of a user that the server never frees.
    lasting: Option<AclUser>,
}

impl NamedUser {
    /// A user that the server may free, so it is looked up each time.
    pub fn passing(name: &[u8]) -> NamedUser {
        NamedUser { name: ServerString::new(name), lasting: None }
    }

    /// A user that the server keeps as long as it lives, so it is looked up once.
    pub fn lasting(name: &[u8]) -> NamedUser {
        let name = ServerString::new(name);
        let lasting = AclUser::find(&name);
        NamedUser { name, lasting }
    }

    /// Whether the user may run a command of these words: in the database that the context has selected with `check`, and
    /// else in any. `None` if the server knows no such user.
    pub fn may_run(&self, words: &[StringRef], ctx: Ctx, check: Option<CheckInDatabase>) -> Option<bool> {
        match &self.lasting {
            Some(user) => Some(user.may_run(words, ctx, check)),
            None => Some(AclUser::find(&self.name)?.may_run(words, ctx, check)),
        }
    }
}

type CheckFunction = unsafe extern "C" fn(
    *mut raw::RedisModuleUser,
    *mut *mut raw::RedisModuleString,
    c_int,
    c_int,
    *mut c_int,
) -> c_int;

/// A function of the server that checks what a user may do in one database; see [`super::compat`].
#[derive(Clone, Copy)]
pub struct CheckInDatabase(CheckFunction);

impl CheckInDatabase {
    /// `ValkeyModule_ACLCheckPermissions`, if the server has it.
    pub fn find() -> Option<CheckInDatabase> {
        let mut check: Option<CheckFunction> = None;
        let (name, place) = (c"RedisModule_ACLCheckPermissions".as_ptr(), ptr::from_mut(&mut check).cast::<c_void>());
        // SAFETY: what the server knows under this name has this form; it writes a pointer, or nothing.
        let known = unsafe { call!(RedisModule_GetApi(name, place)) };
        check.filter(|_| known == OK).map(CheckInDatabase)
    }
}

/// Makes an ACL category for the module's commands; false if the server refuses, or if modules cannot have one.
pub fn add_category(ctx: Ctx, name: &CStr) -> bool {
    // SAFETY: the pointer was written at load, on this thread.
    let Some(add) = (unsafe { raw::RedisModule_AddACLCategory }) else { return false };
    // SAFETY: the context is that of the load, and the name is copied.
    unsafe { add(ctx.raw(), name.as_ptr()) == OK }
}

/// Puts a command of the module into ACL categories; false if the server refuses. Does nothing if modules cannot do so.
pub fn set_categories(ctx: Ctx, command: &CStr, names: &str) -> bool {
    // SAFETY: the pointer was written at load, on this thread.
    let Some(set) = (unsafe { raw::RedisModule_SetCommandACLCategories }) else { return true };
    let names = CString::new(names).unwrap_or_default();
    let command = super::command::find(ctx, command);
    // SAFETY: the command was created before, and the names are read before the call returns.
    unsafe { set(command, names.as_ptr()) == OK }
}
