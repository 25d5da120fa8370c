//! The data type of locks: the callbacks that Redis runs for a value, and the streams they read and write.

use std::ffi::{c_char, c_int, c_void, CStr};
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ptr;

use redis_module::raw;

use super::api::{call, RawIo, RawString, RawType, ERR, OK};
use super::context::Ctx;
use super::guard::guard;
use super::strings::{bytes, StringRef};

/// The type as the server knows it, for values that are a `T`.
pub struct TypeHandle<T>(*mut RawType, PhantomData<T>);

impl<T> TypeHandle<T> {
    /// Before the type is made: no value is of this type.
    pub const NONE: TypeHandle<T> = TypeHandle(ptr::null_mut(), PhantomData);

    /// The type, for calls of the server.
    pub(super) fn raw(self) -> *mut RawType {
        self.0
    }
}

impl<T> Clone for TypeHandle<T> {
    fn clone(&self) -> TypeHandle<T> {
        *self
    }
}

impl<T> Copy for TypeHandle<T> {}

/// What the module does with values of its type.
pub trait DataType {
    /// What a value is.
    type Value;
    /// The type's name in RDB files: nine characters.
    const NAME: &'static CStr;
    /// The version of what [`DataType::save`] and [`DataType::save_aux`] write.
    const ENCODING: c_int;

    /// Reads a value from an RDB file, a RESTORE payload or a primary's data set; `None` if it is damaged.
    fn load(io: Io, encoding: c_int) -> Option<Box<Self::Value>>;
    /// Writes a value. May run in another process or thread.
    fn save(io: Io, value: &Self::Value);
    /// Writes the commands that make the value again (AOF rewrite).
    fn rewrite(io: Io, key: StringRef, value: &Self::Value);
    /// Reads what [`DataType::save_aux`] wrote; false if it is damaged.
    fn load_aux(io: Io, encoding: c_int) -> bool;
    /// Writes what belongs to no key, before all keys. May run in another process or thread.
    fn save_aux(io: Io);
    /// Whether there is anything that belongs to no key. If not, a data set without values loads without the module.
    fn has_aux() -> bool;
    /// Adds a value to DEBUG DIGEST.
    fn digest(digest: Digest, value: &Self::Value);
    /// The memory that a value takes, in bytes.
    fn memory_usage(value: &Self::Value) -> usize;
    /// How much there is to free. A background thread frees values of more than 64. Must not panic.
    fn free_effort(value: &Self::Value) -> usize;
    /// Takes the memory of a value that was dropped. May run on another thread.
    fn freed(room: Box<MaybeUninit<Self::Value>>);
    /// Whether the module itself takes a value out of its key now, so that [`DataType::unlinked`] need not be told.
    fn is_own_removal() -> bool;
    /// A value leaves its key, for whatever reason: DEL, expiry, eviction, SET over it, RENAME, MOVE, RESTORE REPLACE.
    fn unlinked(db: i32, name: &[u8], value: &Self::Value);
}

/// Makes the type; `None` if the server refuses.
pub fn create<D: DataType>(ctx: Ctx) -> Option<TypeHandle<D::Value>> {
    let mut methods = raw::RedisModuleTypeMethods {
        version: raw::REDISMODULE_TYPE_METHOD_VERSION.into(),
        rdb_load: Some(rdb_load::<D>),
        rdb_save: Some(rdb_save::<D>),
        aof_rewrite: Some(aof_rewrite::<D>),
        mem_usage: None, // mem_usage2 is asked first.
        digest: Some(digest::<D>),
        free: Some(free::<D>),
        aux_load: Some(aux_load::<D>),
        aux_save: Some(aux_save::<D>), // Redis 7.0; newer servers ask aux_save2.
        aux_save_triggers: raw::REDISMODULE_AUX_BEFORE_RDB as c_int,
        free_effort: None, // free_effort2 is asked first.
        unlink: None,      // unlink2 is asked first.
        copy: None,        // A copy would be a second holder of the same hold, so COPY is refused.
        defrag: None,      // Locks live for seconds; moving them is not worth the code.
        mem_usage2: Some(mem_usage::<D>),
        free_effort2: Some(free_effort::<D>),
        unlink2: Some(unlink::<D>),
        copy2: None, // As copy.
        aux_save2: Some(aux_save_if_needed::<D>),
    };
    // SAFETY: the context is that of the load; the server copies the methods.
    let made = unsafe { call!(RedisModule_CreateDataType(ctx.raw(), D::NAME.as_ptr(), D::ENCODING, &mut methods)) };
    (!made.is_null()).then_some(TypeHandle(made, PhantomData))
}

unsafe extern "C" fn rdb_load<D: DataType>(io: *mut RawIo, encoding: c_int) -> *mut c_void {
    guard("loading a lock", ptr::null_mut(), || {
        D::load(Io(io, PhantomData), encoding).map_or(ptr::null_mut(), |value| Box::into_raw(value).cast())
    })
}

unsafe extern "C" fn rdb_save<D: DataType>(io: *mut RawIo, value: *mut c_void) {
    guard("saving a lock", (), || {
        // SAFETY: a value that `free` has not taken back.
        if let Some(value) = unsafe { value.cast::<D::Value>().as_ref() } {
            D::save(Io(io, PhantomData), value);
        }
    });
}

unsafe extern "C" fn aof_rewrite<D: DataType>(io: *mut RawIo, key: *mut RawString, value: *mut c_void) {
    guard("rewriting a lock", (), || {
        // SAFETY: a value that `free` has not taken back.
        if let Some(value) = unsafe { value.cast::<D::Value>().as_ref() } {
            // SAFETY: Redis lends the key's name for the call.
            D::rewrite(Io(io, PhantomData), unsafe { StringRef::new(key) }, value);
        }
    });
}

unsafe extern "C" fn aux_save<D: DataType>(io: *mut RawIo, _when: c_int) {
    guard("saving the fence clock", (), || D::save_aux(Io(io, PhantomData)));
}

unsafe extern "C" fn aux_save_if_needed<D: DataType>(io: *mut RawIo, when: c_int) {
    if D::has_aux() {
        // SAFETY: passed on as it came.
        unsafe { aux_save::<D>(io, when) };
    }
}

unsafe extern "C" fn aux_load<D: DataType>(io: *mut RawIo, encoding: c_int, _when: c_int) -> c_int {
    guard("loading the fence clock", ERR, || if D::load_aux(Io(io, PhantomData), encoding) { OK } else { ERR })
}

unsafe extern "C" fn digest<D: DataType>(digest: *mut raw::RedisModuleDigest, value: *mut c_void) {
    guard("a digest", (), || {
        // SAFETY: a value that `free` has not taken back.
        if let Some(value) = unsafe { value.cast::<D::Value>().as_ref() } {
            D::digest(Digest(digest, PhantomData), value);
        }
    });
}

unsafe extern "C" fn mem_usage<D: DataType>(
    _: *mut raw::RedisModuleKeyOptCtx,
    value: *const c_void,
    _samples: usize,
) -> usize {
    guard("a memory report", 0, || {
        // SAFETY: a value that `free` has not taken back.
        unsafe { value.cast::<D::Value>().as_ref() }.map_or(0, D::memory_usage)
    })
}

/// May run on a background thread (FLUSHALL ASYNC).
unsafe extern "C" fn free<D: DataType>(value: *mut c_void) {
    guard("freeing a lock", (), || {
        let value = value.cast::<D::Value>();
        // SAFETY: the server got it from a `Box` in `rdb_load` or in `TypedKey::set`, and frees it once.
        unsafe { ptr::drop_in_place(value) };
        // SAFETY: as above; what is left is room for a value.
        D::freed(unsafe { Box::from_raw(value.cast::<MaybeUninit<D::Value>>()) });
    });
}

unsafe extern "C" fn free_effort<D: DataType>(_: *mut raw::RedisModuleKeyOptCtx, value: *const c_void) -> usize {
    // SAFETY: a value that `free` has not taken back. Nothing here can panic.
    unsafe { value.cast::<D::Value>().as_ref() }.map_or(1, D::free_effort)
}

unsafe extern "C" fn unlink<D: DataType>(ctx: *mut raw::RedisModuleKeyOptCtx, value: *const c_void) {
    if D::is_own_removal() {
        return;
    }
    guard("a lock's removal", (), || {
        // SAFETY: Redis lends the context for the call.
        let db = unsafe { call!(RedisModule_GetDbIdFromOptCtx(ctx)) };
        // SAFETY: as above.
        let name = unsafe { call!(RedisModule_GetKeyNameFromOptCtx(ctx)) };
        // SAFETY: a live string.
        let name = unsafe { bytes(name) };
        // SAFETY: a value that `free` has not taken back.
        if let Some(value) = unsafe { value.cast::<D::Value>().as_ref() } {
            D::unlinked(db, name, value);
        }
    });
}

/// A stream that values are read from or written to. It is valid until the callback returns.
#[derive(Clone, Copy)]
pub struct Io<'a>(*mut RawIo, PhantomData<&'a ()>);

impl Io<'_> {
    /// Reads bytes; `None` if the stream is damaged.
    pub fn load_bytes<R>(self, read: impl FnOnce(&[u8]) -> R) -> Option<R> {
        let mut len = 0;
        // SAFETY: Redis lends the stream for the call.
        let start = unsafe { call!(RedisModule_LoadStringBuffer(self.0, &mut len)) };
        if start.is_null() {
            return None;
        }
        // SAFETY: so many bytes were read.
        let result = read(unsafe { std::slice::from_raw_parts(start.cast(), len) });
        // SAFETY: the buffer is the caller's to free.
        unsafe { call!(RedisModule_Free(start.cast())) };
        Some(result)
    }

    /// Writes bytes.
    pub fn save_bytes(self, bytes: &[u8]) {
        // SAFETY: the bytes are written out before the call returns.
        unsafe { call!(RedisModule_SaveStringBuffer(self.0, bytes.as_ptr().cast(), bytes.len())) };
    }

    /// Reads a number; `None` if the stream is damaged.
    pub fn load_number(self) -> Option<u64> {
        // SAFETY: Redis lends the stream for the call.
        let number = unsafe { call!(RedisModule_LoadUnsigned(self.0)) };
        // SAFETY: as above.
        (unsafe { call!(RedisModule_IsIOError(self.0)) } == 0).then_some(number)
    }

    /// Writes a number.
    pub fn save_number(self, number: u64) {
        // SAFETY: Redis lends the stream for the call.
        unsafe { call!(RedisModule_SaveUnsigned(self.0, number)) };
    }

    /// The database of the key that is read or written.
    pub fn db(self) -> i32 {
        // SAFETY: Redis lends the stream for the call.
        unsafe { call!(RedisModule_GetDbIdFromIO(self.0)) }
    }

    /// The name of the key that is read or written; empty if the server does not know it.
    pub fn key_name(&self) -> &[u8] {
        // SAFETY: Redis lends the stream for the call.
        let name = unsafe { call!(RedisModule_GetKeyNameFromIO(self.0)) };
        // SAFETY: null, or a string that lives for the callback.
        unsafe { bytes(name) }
    }

    /// Writes a command with a key and bytes to the AOF.
    pub fn emit_key_bytes(self, command: &CStr, key: StringRef, bytes: &[u8]) {
        let (start, len) = (bytes.as_ptr().cast::<c_char>(), bytes.len());
        // SAFETY: "s" takes a string, "b" a pointer and a length.
        unsafe { call!(RedisModule_EmitAOF(self.0, command.as_ptr(), c"sb".as_ptr(), key.raw(), start, len)) };
    }
}

/// What DEBUG DIGEST adds up. It is valid until the callback returns.
#[derive(Clone, Copy)]
pub struct Digest<'a>(*mut raw::RedisModuleDigest, PhantomData<&'a ()>);

impl Digest<'_> {
    /// Adds bytes to the current sequence.
    pub fn add(self, bytes: &[u8]) {
        // SAFETY: the bytes are read before the call returns.
        unsafe { call!(RedisModule_DigestAddStringBuffer(self.0, bytes.as_ptr().cast(), bytes.len())) };
    }

    /// Ends a sequence. The order of sequences does not matter to the digest.
    pub fn end_sequence(self) {
        // SAFETY: Redis lends the digest for the call.
        unsafe { call!(RedisModule_DigestEndSequence(self.0)) };
    }
}
