//! Replies to commands.

use std::ffi::c_long;

use redis_module::raw;

use super::api::call;
use super::context::Ctx;
use super::log::c_text;

impl Ctx {
    /// Replies with an integer.
    pub fn reply_integer(self, number: u64) {
        // SAFETY: the context is live.
        unsafe { call!(RedisModule_ReplyWithLongLong(self.raw(), number.cast_signed())) };
    }

    /// Replies with null.
    pub fn reply_null(self) {
        // SAFETY: the context is live.
        unsafe { call!(RedisModule_ReplyWithNull(self.raw())) };
    }

    /// Replies with an error. The text begins with the error's code; a NUL byte ends it.
    pub fn reply_error(self, text: &str) {
        let text = c_text(text);
        // SAFETY: the text is copied.
        unsafe { call!(RedisModule_ReplyWithError(self.raw(), text.as_ptr())) };
    }

    /// Replies with the server's own error for a wrong number of arguments, which names the command.
    pub fn reply_wrong_arity(self) {
        // SAFETY: the context is live.
        unsafe { call!(RedisModule_WrongArity(self.raw())) };
    }

    /// Replies with `OK`.
    pub fn reply_ok(self) {
        // SAFETY: the text is copied.
        unsafe { call!(RedisModule_ReplyWithSimpleString(self.raw(), c"OK".as_ptr())) };
    }

    /// Replies with a string of these bytes.
    pub fn reply_bytes(self, text: &[u8]) {
        // SAFETY: the bytes are copied.
        unsafe { call!(RedisModule_ReplyWithStringBuffer(self.raw(), text.as_ptr().cast(), text.len())) };
    }

    /// Begins an array reply; `len` elements must follow.
    pub fn reply_array(self, len: usize) {
        // SAFETY: the context is live.
        unsafe { call!(RedisModule_ReplyWithArray(self.raw(), c_long::try_from(len).unwrap_or(0))) };
    }

    /// Begins a map reply, which is a flat array in RESP2; `len` pairs must follow.
    pub fn reply_map(self, len: usize) {
        // SAFETY: the context is live.
        unsafe { call!(RedisModule_ReplyWithMap(self.raw(), c_long::try_from(len).unwrap_or(0))) };
    }
}
