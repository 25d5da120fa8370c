//! The server's strings.

use std::marker::PhantomData;
use std::ptr;

use redis_module::raw;

use super::api::{call, RawString};

/// A string that the server lends.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct StringRef<'a>(*mut RawString, PhantomData<&'a ()>);

impl<'a> StringRef<'a> {
    /// Stands for an argument that is not there; its bytes are empty.
    pub const NONE: StringRef<'static> = StringRef(ptr::null_mut(), PhantomData);

    /// Wraps a string that a callback was given.
    ///
    /// # Safety
    /// `string` is null, or a string that lives for `'a`.
    pub(super) unsafe fn new(string: *mut RawString) -> StringRef<'a> {
        StringRef(string, PhantomData)
    }

    /// The strings of a command, its name first.
    ///
    /// # Safety
    /// `argv` points to `argc` strings that live for `'a`.
    pub(super) unsafe fn arguments(argv: *mut *mut RawString, argc: i32) -> &'a [StringRef<'a>] {
        match usize::try_from(argc) {
            // SAFETY: the caller vouches for the array, and a `StringRef` is a pointer.
            Ok(argc) if argc > 0 => unsafe { std::slice::from_raw_parts(argv.cast(), argc) },
            _ => &[],
        }
    }

    /// The string, for calls of the server.
    pub(super) fn raw(self) -> *mut RawString {
        self.0
    }

    /// The same string, for a lifetime that the compiler cannot check.
    ///
    /// # Safety
    /// The string lives for `'b`.
    pub unsafe fn for_longer<'b>(self) -> StringRef<'b> {
        StringRef(self.0, PhantomData)
    }

    /// The string as a plain decimal number.
    pub fn decimal(self) -> Option<usize> {
        std::str::from_utf8(self.bytes()).ok()?.parse().ok()
    }

    /// Its bytes.
    #[inline]
    pub fn bytes(self) -> &'a [u8] {
        // SAFETY: the string lives for 'a.
        unsafe { bytes(self.0) }
    }
}

/// The bytes of a string; empty if it is null.
///
/// # Safety
/// `string` is null, or a string that outlives `'a`.
pub(super) unsafe fn bytes<'a>(string: *const RawString) -> &'a [u8] {
    if string.is_null() {
        return &[];
    }
    let mut len = 0;
    // SAFETY: the caller vouches for the string.
    let start = unsafe { call!(RedisModule_StringPtrLen(string, &mut len)) };
    // SAFETY: the server says that so many bytes are there, and keeps them as long as the string.
    unsafe { std::slice::from_raw_parts(start.cast(), len) }
}

/// A string of the server's that belongs to the module.
pub struct ServerString(*mut RawString);

impl ServerString {
    /// Copies the bytes into a new string.
    pub fn new(bytes: &[u8]) -> ServerString {
        // SAFETY: the bytes are copied; without a context the string is the caller's to free.
        ServerString(unsafe { call!(RedisModule_CreateString(ptr::null_mut(), bytes.as_ptr().cast(), bytes.len())) })
    }

    /// Takes over a string that a function of the server returned for the caller to free; `None` if it is null.
    ///
    /// # Safety
    /// `string` is null, or a string that nobody else frees.
    #[inline(always)]
    pub(super) unsafe fn from_raw(string: *mut RawString) -> Option<ServerString> {
        // Not `then_some`, which would make a value of a null pointer, and free it.
        (!string.is_null()).then(|| ServerString(string))
    }

    /// The string, for as long as this value lives.
    pub fn as_ref(&self) -> StringRef<'_> {
        StringRef(self.0, PhantomData)
    }
}

impl Drop for ServerString {
    fn drop(&mut self) {
        // SAFETY: it belongs to the module, and is freed once.
        unsafe { call!(RedisModule_FreeString(ptr::null_mut(), self.0)) };
    }
}
