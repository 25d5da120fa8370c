//! An open key.

use std::ffi::c_int;
use std::marker::PhantomData;
use std::ptr;

use redis_module::raw;

use super::api::{call, Ctx, RawKey, RawString};
use super::{commands, state, value};
use crate::engine::{Found, Key, Stored};
use crate::lock::{Hold, Mode, Now};
use crate::wire::{self, Told};

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
    /// Opens the key that a command names. `is_silent`: see [`super::listeners`].
    ///
    /// # Safety
    /// `name` is live until the result is dropped, and `ctx` has a client.
    pub unsafe fn of_command<'a>(ctx: Ctx, name: *mut RawString, is_silent: bool) -> OpenKey<'a> {
        const MODE: c_int = (raw::REDISMODULE_READ | raw::REDISMODULE_WRITE) as c_int;
        // SAFETY: the caller vouches for both.
        let key = unsafe { call!(RedisModule_OpenKey(ctx.raw(), name, MODE)) };
        // SAFETY: the key is open. (A key of another type has none of ours, and a null pointer is returned for it.)
        let stored = if unsafe { call!(RedisModule_ModuleTypeGetType(key)) } == value::lock_type() {
            // SAFETY: as above.
            unsafe { call!(RedisModule_ModuleTypeGetValue(key)) }.cast::<Stored>()
        } else {
            ptr::null_mut()
        };
        let found = if !stored.is_null() {
            Found::Lock
        } else if key_type(key) == raw::REDISMODULE_KEYTYPE_EMPTY as c_int {
            Found::Free
        } else {
            Found::Other
        };
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

    /// Sends an effect to whoever listens.
    fn replicate_effect(&self, encode: impl FnOnce(&mut Vec<u8>)) {
        if self.is_silent {
            return self.ctx.count_change();
        }
        let mut effect = Vec::with_capacity(64);
        encode(&mut effect);
        self.ctx.replicate_key_bytes(commands::APPLY, self.name, &effect);
    }
}

/// The type of an open key.
fn key_type(key: *mut RawKey) -> c_int {
    // SAFETY: null is allowed and means empty.
    unsafe { call!(RedisModule_KeyType(key)) }
}

impl Key for OpenKey<'_> {
    fn found(&self) -> Found {
        self.found
    }

    fn stored(&mut self) -> Option<&mut Stored> {
        // SAFETY: null, or the value of the open key, which only this borrow reaches: the server runs one turn at a time.
        unsafe { self.stored.as_mut() }
    }

    fn create(&mut self, stored: Stored) {
        let stored = Box::into_raw(Box::new(stored));
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

    fn replicate_freed(&mut self) {
        self.replicate_effect(wire::encode_freed);
    }

    fn clear_ttl(&mut self) {
        // SAFETY: the key is open for writing.
        unsafe { call!(RedisModule_SetExpire(self.key, raw::REDISMODULE_NO_EXPIRE.into())) };
    }

    fn replicate(&mut self, told: Told, mode: Mode, hold: &Hold, now: Now) {
        self.replicate_effect(|effect| wire::encode_effect(told, mode, hold, now, effect));
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
