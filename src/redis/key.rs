//! An open key.

use std::ffi::c_int;
use std::marker::PhantomData;
use std::ptr;

use redis_module::raw;

use super::api::{call, Ctx, RawKey, RawString};
use super::{replication, state, users, value};
use crate::engine::{Found, Key, KeyRef, Keyspace, Stored};
use crate::lock::{Holders, Rights, User};

/// A key open for writing, until it is dropped. Opening signals no change: the server is told of real ones only.
pub struct OpenKey<'a> {
    ctx: Ctx,
    name: *mut RawString,
    /// Whether `name` is this key's to free.
    owns_name: bool,
    key: *mut RawKey,
    found: Found,
    stored: *mut Stored,
    /// Nobody listens: a change is only counted, for save points.
    is_silent: bool,
    lent: PhantomData<&'a ()>,
}

impl OpenKey<'_> {
    /// Opens the key that a command names. `is_silent`: see [`super::propagation`].
    ///
    /// # Safety
    /// `name` is live until the result is dropped, and `ctx` has a client.
    pub unsafe fn of_command<'a>(ctx: Ctx, name: *mut RawString, is_silent: bool) -> OpenKey<'a> {
        const MODE: c_int = (raw::REDISMODULE_READ | raw::REDISMODULE_WRITE) as c_int;
        // SAFETY: the caller vouches for both.
        let key = unsafe { call!(RedisModule_OpenKey(ctx.raw(), name, MODE)) };
        let (found, stored) = look(key);
        OpenKey { ctx, name, owns_name: false, key, found, stored, is_silent, lent: PhantomData }
    }

    /// Opens a key by its name, in the database that the context has selected.
    pub fn of_name<'a>(ctx: Ctx, name: &[u8]) -> OpenKey<'a> {
        // SAFETY: the bytes are copied; without a context the string is ours to free.
        let name = unsafe { call!(RedisModule_CreateString(ptr::null_mut(), name.as_ptr().cast(), name.len())) };
        // SAFETY: the string is freed when the key is dropped.
        let mut key = unsafe { OpenKey::of_command(ctx, name, false) };
        key.owns_name = true;
        key
    }
}

/// What an open key holds, and the lock if it holds one.
fn look(key: *mut RawKey) -> (Found, *mut Stored) {
    // SAFETY: the key is open. (A key of another type has none of ours, and a null pointer is returned for it.)
    if unsafe { call!(RedisModule_ModuleTypeGetType(key)) } == value::lock_type() {
        // SAFETY: as above.
        let stored = unsafe { call!(RedisModule_ModuleTypeGetValue(key)) }.cast::<Stored>();
        if !stored.is_null() {
            return (Found::Lock, stored);
        }
    }
    let is_free = key_type(key) == raw::REDISMODULE_KEYTYPE_EMPTY as c_int;
    (if is_free { Found::Free } else { Found::Other }, ptr::null_mut())
}

/// The type of an open key.
fn key_type(key: *mut RawKey) -> c_int {
    // SAFETY: null is allowed and means empty.
    unsafe { call!(RedisModule_KeyType(key)) }
}

/// What users may do with an open key.
pub struct KeyRights<'a> {
    ctx: Ctx,
    name: *mut RawString,
    lent: PhantomData<&'a ()>,
}

impl Rights for KeyRights<'_> {
    fn may_acquire(&mut self, user: User) -> bool {
        // SAFETY: the name lives as long as the key is open.
        unsafe { users::may_acquire(user, self.name, self.ctx) }
    }
}

impl<'a> Key for OpenKey<'a> {
    type Rights = KeyRights<'a>;

    fn rights(&self) -> KeyRights<'a> {
        KeyRights { ctx: self.ctx, name: self.name, lent: PhantomData }
    }

    fn found(&self) -> Found {
        self.found
    }

    fn stored(&mut self) -> Option<&mut Stored> {
        // SAFETY: null, or the value of the open key, which only this borrow reaches: the server runs one turn at a time.
        unsafe { self.stored.as_mut() }
    }

    fn create(&mut self, stored: Stored) {
        let stored = Box::into_raw(value::boxed(stored));
        // SAFETY: the key is open for writing; the value is the server's from here on, and `free` takes it back.
        let status = unsafe { call!(RedisModule_ModuleTypeSetValue(self.key, value::lock_type(), stored.cast())) };
        if status == raw::REDISMODULE_OK as c_int {
            self.stored = stored;
            self.found = Found::Lock;
        } else {
            // SAFETY: the server did not take it.
            drop(unsafe { Box::from_raw(stored) });
        }
    }

    fn remove(&mut self) {
        self.stored = ptr::null_mut();
        self.found = Found::Free;
        // SAFETY: the key is open for writing.
        state::OWN_REMOVAL.during(|| unsafe { call!(RedisModule_DeleteKey(self.key)) });
    }

    fn clear_ttl(&mut self) {
        // SAFETY: the key is open for writing.
        unsafe { call!(RedisModule_SetExpire(self.key, raw::REDISMODULE_NO_EXPIRE.into())) };
    }

    fn is_heard(&self) -> bool {
        !self.is_silent
    }

    fn replicate(&mut self, effect: &[u8]) {
        self.ctx.replicate_key_bytes(replication::APPLY, self.name, effect);
    }

    fn count_change(&mut self) {
        self.ctx.count_change();
    }

    fn signal_changed(&mut self) {
        self.ctx.signal_modified(self.name);
    }
}

impl Drop for OpenKey<'_> {
    fn drop(&mut self) {
        // SAFETY: open since `of_command`, and closed once.
        unsafe { call!(RedisModule_CloseKey(self.key)) };
        if self.owns_name {
            // SAFETY: made by `of_name`, and freed once.
            unsafe { call!(RedisModule_FreeString(ptr::null_mut(), self.name)) };
        }
    }
}

/// A key open for reading, until it is dropped.
pub struct ReadKey<'a> {
    key: *mut RawKey,
    found: Found,
    stored: *const Stored,
    lent: PhantomData<&'a ()>,
}

impl ReadKey<'_> {
    /// Opens the key of this name.
    ///
    /// # Safety
    /// `name` is live until the call returns, and `ctx` has a client.
    pub unsafe fn of_command<'a>(ctx: Ctx, name: *mut RawString) -> ReadKey<'a> {
        // SAFETY: the caller vouches for both.
        let key = unsafe { call!(RedisModule_OpenKey(ctx.raw(), name, raw::REDISMODULE_READ as c_int)) };
        // A key that is not there is not opened for reading; the functions below take null for empty.
        let (found, stored) = look(key);
        ReadKey { key, found, stored, lent: PhantomData }
    }

    /// What it holds.
    pub fn found(&self) -> Found {
        self.found
    }

    /// How many milliseconds are left of its TTL, which somebody set by hand; `None` without one, or without a lock.
    pub fn ttl_ms(&self) -> Option<u64> {
        self.stored()?;
        // SAFETY: a key that holds a lock is open.
        let left = unsafe { call!(RedisModule_GetExpire(self.key)) };
        u64::try_from(left).ok()
    }

    /// The lock it holds.
    pub fn stored(&self) -> Option<&Stored> {
        // SAFETY: null, or the value of the open key, which nobody changes while this is borrowed.
        unsafe { self.stored.as_ref() }
    }
}

impl Drop for ReadKey<'_> {
    fn drop(&mut self) {
        // SAFETY: open since `of_command`, or null, and closed once.
        unsafe { call!(RedisModule_CloseKey(self.key)) };
    }
}

/// Opens a key for reading in a database, and goes back to the one that was selected.
pub fn see<R>(ctx: Ctx, at: KeyRef, look: impl FnOnce(&ReadKey) -> R) -> Option<R> {
    let selected = ctx.db();
    if !ctx.select_db(at.db) {
        return None;
    }
    // SAFETY: the string lives until `look` returns.
    let result = with_name(at.name, |name| look(&unsafe { ReadKey::of_command(ctx, name) }));
    ctx.select_db(selected);
    Some(result)
}

/// Makes a string of the server's out of a name, for as long as `body` runs.
pub fn with_name<R>(name: &[u8], body: impl FnOnce(*mut RawString) -> R) -> R {
    // SAFETY: the bytes are copied; without a context the string is ours to free.
    let name = unsafe { call!(RedisModule_CreateString(ptr::null_mut(), name.as_ptr().cast(), name.len())) };
    let result = body(name);
    // SAFETY: made above, and freed once.
    unsafe { call!(RedisModule_FreeString(ptr::null_mut(), name)) };
    result
}

/// The locks that the client of a command could see.
pub struct ReadKeyspace(pub Ctx);

impl Keyspace for ReadKeyspace {
    fn with_holders(&mut self, key: KeyRef, look: &mut dyn FnMut(&Holders)) {
        see(self.0, key, |seen| seen.stored().map(|stored| look(&stored.holders)));
    }
}
