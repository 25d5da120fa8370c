//! One RM_Call, and what came of it.

use std::ffi::{c_char, c_int, CString};
use std::ptr;

use redis_module::{raw, RedisError, RedisResult, RedisString, RedisValue};

use crate::api::{bytes, call};
use crate::promises;

/// What is to be called, and how.
pub struct Wanted {
    /// The modifiers of RM_Call's format.
    format: CString,
    /// The user that the context gets for the call.
    user: Option<Vec<u8>>,
    command: CString,
    args: Vec<Vec<u8>>,
}

impl Wanted {
    /// `format user command [argument ...]`; the user `-` is none.
    pub fn parse(mut words: impl Iterator<Item = RedisString>) -> Result<Wanted, RedisError> {
        let mut next = || words.next().map(|word| word.as_slice().to_vec()).ok_or(RedisError::WrongArity);
        let c_string = |word: Vec<u8>| CString::new(word).map_err(|_| RedisError::Str("ERR a zero byte"));
        let mut format = next()?;
        format.push(b'v');
        let (format, user, command) = (c_string(format)?, next()?, c_string(next()?)?);
        let user = (user != b"-").then_some(user);
        Ok(Wanted { format, user, command, args: words.map(|word| word.as_slice().to_vec()).collect() })
    }

    /// Calls it. The context is live; outside the main thread, it is locked.
    pub fn call(&self, ctx: *mut raw::RedisModuleCtx) -> RedisResult {
        let user = match &self.user {
            Some(name) => find_user(name)?,
            None => ptr::null_mut(),
        };
        if !user.is_null() {
            call!(RedisModule_SetContextUser(ctx, user));
        }
        let mut args: Vec<_> = self.args.iter().map(|arg| string(arg)).collect();
        let (command, format) = (self.command.as_ptr(), self.format.as_ptr());
        let reply = call!(RedisModule_Call(ctx, command, format, args.as_mut_ptr(), args.len()));
        let answer = if reply.is_null() {
            Err(RedisError::String(format!("ERR no reply: {}", std::io::Error::last_os_error())))
        } else if call!(RedisModule_CallReplyType(reply)) == raw::REDISMODULE_REPLY_PROMISE as c_int {
            promises::keep(reply)
        } else {
            let answer = read(reply);
            call!(RedisModule_FreeCallReply(reply));
            answer
        };
        for arg in args {
            call!(RedisModule_FreeString(ptr::null_mut(), arg));
        }
        if !user.is_null() {
            call!(RedisModule_SetContextUser(ctx, ptr::null()));
            call!(RedisModule_FreeModuleUser(user));
        }
        answer
    }
}

fn find_user(name: &[u8]) -> Result<*mut raw::RedisModuleUser, RedisError> {
    let name = string(name);
    let user = call!(RedisModule_GetModuleUserFromUserName(name));
    call!(RedisModule_FreeString(ptr::null_mut(), name));
    if user.is_null() {
        return Err(RedisError::Str("ERR no such user"));
    }
    Ok(user)
}

/// A string that no context frees.
fn string(text: &[u8]) -> *mut raw::RedisModuleString {
    call!(RedisModule_CreateString(ptr::null_mut(), text.as_ptr().cast::<c_char>(), text.len()))
}

/// What a command answered.
pub fn read(reply: *mut raw::RedisModuleCallReply) -> RedisResult {
    let text = || bytes(|len| call!(RedisModule_CallReplyStringPtr(reply, len)));
    Ok(match call!(RedisModule_CallReplyType(reply)) as isize {
        raw::REDISMODULE_REPLY_STRING => RedisValue::StringBuffer(text()),
        raw::REDISMODULE_REPLY_ERROR => return Err(RedisError::String(String::from_utf8_lossy(&text()).into_owned())),
        raw::REDISMODULE_REPLY_INTEGER => RedisValue::Integer(call!(RedisModule_CallReplyInteger(reply))),
        raw::REDISMODULE_REPLY_ARRAY => {
            let len = call!(RedisModule_CallReplyLength(reply));
            let elements = (0..len).map(|n| read(call!(RedisModule_CallReplyArrayElement(reply, n))));
            RedisValue::Array(elements.collect::<Result<_, _>>()?)
        }
        raw::REDISMODULE_REPLY_NULL => RedisValue::Null,
        other => return Err(RedisError::String(format!("ERR a reply of type {other}"))),
    })
}
