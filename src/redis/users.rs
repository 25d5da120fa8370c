//! ACL users: numbered as they come, so that a hold can bear the name of who asked for it in four bytes, and asked whether they
//! may still run LOCK.ACQUIRE.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ffi::{c_int, c_void};
use std::num::NonZeroU32;
use std::ptr;

use redis_module::raw;

use super::api::{call, Ctx, RawString};
use super::state::MainThread;
use crate::lock::User;

type RawUser = raw::RedisModuleUser;
/// `ValkeyModule_ACLCheckPermissions` of Valkey 9.1, where users may be kept out of databases.
type CheckInDatabase = unsafe extern "C" fn(*mut RawUser, *mut *mut RawString, c_int, c_int, *mut c_int) -> c_int;

/// The one user that the server keeps as long as it lives, whatever becomes of its rules.
const LASTING: &[u8] = b"default";

#[derive(Default)]
struct Users {
    numbers: HashMap<Box<[u8]>, User>,
    /// The one that came last, who mostly comes again.
    last: Option<(Box<[u8]>, User)>,
    /// By number.
    names: Vec<Name>,
}

/// What the server is asked about a user by.
#[derive(Clone, Copy)]
struct Name {
    string: *mut RawString,
    /// Null for users that the server may free.
    lasting: *mut RawUser,
}

static USERS: MainThread<RefCell<Option<Users>>> = MainThread::new(RefCell::new(None));

/// The words of the command that users are asked about: its name, and an owner.
static WORDS: MainThread<Cell<[*mut RawString; 2]>> = MainThread::new(Cell::new([ptr::null_mut(); 2]));

static CHECK_IN_DATABASE: MainThread<Cell<Option<CheckInDatabase>>> = MainThread::new(Cell::new(None));

/// Makes ready to ask, at load.
pub fn prepare() {
    WORDS.get().set([string(b"LOCK.ACQUIRE"), string(b"owner")]);
    let mut check: Option<CheckInDatabase> = None;
    let (name, place) = (c"RedisModule_ACLCheckPermissions".as_ptr(), ptr::from_mut(&mut check).cast::<c_void>());
    // SAFETY: what the server knows under this name has this form; it writes a pointer, or nothing.
    let known = unsafe { call!(RedisModule_GetApi(name, place)) };
    CHECK_IN_DATABASE.get().set(check.filter(|_| known == raw::REDISMODULE_OK as c_int));
}

/// The same name has the same number as long as the process lives.
pub fn number(name: &[u8]) -> Option<User> {
    let mut users = USERS.get().try_borrow_mut().ok()?;
    let users = users.get_or_insert_default();
    if let Some((last, user)) = &users.last {
        if **last == *name {
            return Some(*user);
        }
    }
    let user = match users.numbers.get(name) {
        Some(user) => *user,
        None => {
            let next = u32::try_from(users.names.len()).ok()?.checked_add(1)?;
            let user = User(NonZeroU32::new(next)?);
            users.names.push(Name::new(name));
            users.numbers.insert(name.into(), user);
            user
        }
    };
    users.last = Some((name.into(), user));
    Some(user)
}

impl Name {
    fn new(name: &[u8]) -> Name {
        let string = string(name);
        let lasting = if name == LASTING { find(string) } else { ptr::null_mut() };
        Name { string, lasting }
    }

    fn of(user: User) -> Option<Name> {
        let index = usize::try_from(user.0.get()).ok()?.checked_sub(1)?;
        USERS.get().try_borrow().ok()?.as_ref()?.names.get(index).copied()
    }
}

/// A string of the server's that is kept for ever.
fn string(text: &[u8]) -> *mut RawString {
    // SAFETY: the bytes are copied; without a context the string is ours.
    unsafe { call!(RedisModule_CreateString(ptr::null_mut(), text.as_ptr().cast(), text.len())) }
}

/// The user of this name, or null.
fn find(name: *mut RawString) -> *mut RawUser {
    // SAFETY: a live string.
    unsafe { call!(RedisModule_GetModuleUserFromUserName(name)) }
}

/// Whether this user may run LOCK.ACQUIRE on this key, in the database that the context has selected. A user that is off may, on
/// its connections that there are. One that the server does not know may too: it was deleted, and its connections are being
/// closed, or another module made it and keeps it to itself.
///
/// # Safety
/// The key is a live string, and the context has a client.
pub unsafe fn may_acquire(user: User, key: *mut RawString, ctx: Ctx) -> bool {
    let Some(name) = Name::of(user) else { return true };
    let found = if name.lasting.is_null() { find(name.string) } else { name.lasting };
    if found.is_null() {
        return true;
    }
    let [command, owner] = WORDS.get().get();
    let mut argv = [command, key, owner];
    let (start, len) = (argv.as_mut_ptr(), 3);
    let answer = match CHECK_IN_DATABASE.get().get() {
        // SAFETY: the user and the strings are live; why it was denied is not asked.
        Some(check) => unsafe { check(found, start, len, ctx.db(), ptr::null_mut()) },
        // SAFETY: as above.
        None => unsafe { call!(RedisModule_ACLCheckCommandPermissions(found, start, len)) },
    };
    if name.lasting.is_null() {
        // SAFETY: found above, and freed once; the user itself stays.
        unsafe { call!(RedisModule_FreeModuleUser(found)) };
    }
    answer == raw::REDISMODULE_OK as c_int
}
