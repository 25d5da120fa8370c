//! Open keys.

use std::ffi::c_int;
use std::ptr;

use redis_module::raw;

use super::api::{call, RawKey, OK};
use super::context::Ctx;
use super::data_type::TypeHandle;
use super::strings::StringRef;

/// What an open key holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// Nothing.
    Empty,
    /// A value of the module's type.
    Value,
    /// A value of another type.
    Other,
}

/// A key that the server opened, until it is dropped. `T` is what a value of the module's type is.
///
/// The server runs one command or callback at a time, and the module opens no key twice at once for writing; so a value
/// that is borrowed from here changes only through the same borrow.
pub struct TypedKey<T> {
    key: *mut RawKey,
    content: Content,
    value: *mut T,
}

impl<T> TypedKey<T> {
    /// Opens a key for writing. This alone does not signal a change; see [`super::compat::NO_IMPLICIT_SIGNAL_MODIFIED`].
    #[inline]
    pub fn open_to_write(ctx: Ctx, name: StringRef, kind: TypeHandle<T>) -> TypedKey<T> {
        const MODE: c_int = (raw::REDISMODULE_READ | raw::REDISMODULE_WRITE) as c_int;
        TypedKey::open(ctx, name, MODE, kind)
    }

    /// Opens a key for reading.
    #[inline]
    pub fn open_to_read(ctx: Ctx, name: StringRef, kind: TypeHandle<T>) -> TypedKey<T> {
        TypedKey::open(ctx, name, raw::REDISMODULE_READ as c_int, kind)
    }

    #[inline(always)]
    fn open(ctx: Ctx, name: StringRef, mode: c_int, kind: TypeHandle<T>) -> TypedKey<T> {
        // SAFETY: the name is live, and the context has a client.
        let key = unsafe { call!(RedisModule_OpenKey(ctx.raw(), name.raw(), mode)) };
        // A key that does not exist is not opened for reading. The functions below take null for an empty key.
        let (content, value) = look(key, kind);
        TypedKey { key, content, value }
    }

    /// What the key holds.
    pub fn content(&self) -> Content {
        self.content
    }

    /// The value, if it is of the module's type.
    pub fn value(&self) -> Option<&T> {
        // SAFETY: null, or the value of the open key.
        unsafe { self.value.as_ref() }
    }

    /// The value, if it is of the module's type, to be changed in place. The key must be open for writing.
    pub fn value_mut(&mut self) -> Option<&mut T> {
        // SAFETY: null, or the value of the open key, which only this borrow reaches.
        unsafe { self.value.as_mut() }
    }

    /// Puts a value into an empty key that is open for writing. If the server refuses it, the value is dropped.
    pub fn set(&mut self, value: Box<T>, kind: TypeHandle<T>) {
        let value = Box::into_raw(value);
        // SAFETY: the key is open for writing. The value is the server's from here on, until `free` takes it back.
        let status = unsafe { call!(RedisModule_ModuleTypeSetValue(self.key, kind.raw(), value.cast())) };
        if status == OK {
            self.value = value;
            self.content = Content::Value;
        } else {
            // SAFETY: made above, and the server did not take it.
            drop(unsafe { Box::from_raw(value) });
        }
    }

    /// Deletes what the key holds. The key must be open for writing.
    pub fn delete(&mut self) {
        self.value = ptr::null_mut();
        self.content = Content::Empty;
        // SAFETY: the key is open for writing.
        unsafe { call!(RedisModule_DeleteKey(self.key)) };
    }

    /// Removes the key's TTL. The key must be open for writing.
    pub fn clear_ttl(&mut self) {
        // SAFETY: the key is open for writing.
        unsafe { call!(RedisModule_SetExpire(self.key, raw::REDISMODULE_NO_EXPIRE.into())) };
    }

    /// How many milliseconds are left of the key's TTL; `None` if it has no TTL or holds no value of the module's type.
    pub fn ttl_ms(&self) -> Option<u64> {
        self.value()?;
        // SAFETY: a key that holds a value is open.
        let left = unsafe { call!(RedisModule_GetExpire(self.key)) };
        u64::try_from(left).ok()
    }
}

impl<T> Drop for TypedKey<T> {
    fn drop(&mut self) {
        // SAFETY: opened by `open`, or null, and closed once.
        unsafe { call!(RedisModule_CloseKey(self.key)) };
    }
}

/// What an open key holds, and a pointer to the value if it is of the module's type.
#[inline(always)]
fn look<T>(key: *mut RawKey, kind: TypeHandle<T>) -> (Content, *mut T) {
    // SAFETY: the key is open or null. A key of another type has no module type or a different one.
    if unsafe { call!(RedisModule_ModuleTypeGetType(key)) } == kind.raw() {
        // SAFETY: as above.
        let value = unsafe { call!(RedisModule_ModuleTypeGetValue(key)) }.cast::<T>();
        if !value.is_null() {
            return (Content::Value, value);
        }
    }
    // SAFETY: null is allowed and means empty.
    let is_empty = unsafe { call!(RedisModule_KeyType(key)) } == raw::REDISMODULE_KEYTYPE_EMPTY as c_int;
    (if is_empty { Content::Empty } else { Content::Other }, ptr::null_mut())
}
