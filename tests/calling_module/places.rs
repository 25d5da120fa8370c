//! Where a call is made: elsewhere than in the command that asks for it, which waits for the answer.

use std::ffi::{c_int, c_void};
use std::ptr;
use std::time::Duration;

use redis_module::{raw, Context, RedisError, RedisResult, RedisValue};

use crate::api::{call, Sent};
use crate::call::Wanted;

/// Where.
#[derive(Clone, Copy)]
pub enum Place {
    /// In the command itself.
    Command,
    /// In a thread, by a context that is bound to the client of the command.
    Bound,
    /// In a thread, by a context that is bound to nobody.
    Detached,
    /// In a timer.
    Timer,
}

impl Place {
    /// A place, and after how many milliseconds: `bound`, `timer:100`.
    pub fn parse(text: &str) -> Result<(Place, u64), RedisError> {
        let (name, delay) = text.split_once(':').unwrap_or((text, "0"));
        let place = match name {
            "command" => Place::Command,
            "bound" => Place::Bound,
            "detached" => Place::Detached,
            "timer" => Place::Timer,
            _ => return Err(RedisError::Str("ERR no such place")),
        };
        Ok((place, delay.parse().map_err(|_| RedisError::Str("ERR not a number of milliseconds"))?))
    }
}

/// A call on its way, and who waits for its answer.
struct Errand {
    wanted: Wanted,
    asker: *mut raw::RedisModuleBlockedClient,
}

impl Errand {
    fn run(self, ctx: *mut raw::RedisModuleCtx) {
        let answer = Box::new(self.wanted.call(ctx));
        call!(RedisModule_UnblockClient(self.asker, Box::into_raw(answer).cast()));
    }
}

/// Makes the call there.
pub fn call_at(ctx: &Context, place: Place, delay_ms: u64, wanted: Wanted) -> RedisResult {
    if matches!(place, Place::Command) {
        return wanted.call(ctx.ctx);
    }
    const FORBIDDEN: c_int = (raw::REDISMODULE_CTX_FLAGS_DENY_BLOCKING
        | raw::REDISMODULE_CTX_FLAGS_MULTI
        | raw::REDISMODULE_CTX_FLAGS_LUA) as c_int;
    if call!(RedisModule_GetContextFlags(ctx.ctx)) & FORBIDDEN != 0 {
        return Err(RedisError::Str("ERR whoever may not wait calls from the command itself"));
    }
    let asker = call!(RedisModule_BlockClient(ctx.ctx, Some(on_reply), None, Some(on_free), 0));
    let errand = Errand { wanted, asker };
    match place {
        Place::Command => {}
        Place::Timer => {
            let errand = Box::into_raw(Box::new(errand)).cast();
            call!(RedisModule_CreateTimer(ctx.ctx, i64::try_from(delay_ms).unwrap_or(0), Some(on_timer), errand));
        }
        Place::Bound => in_thread(call!(RedisModule_GetThreadSafeContext(asker)), delay_ms, errand),
        Place::Detached => in_thread(call!(RedisModule_GetDetachedThreadSafeContext(ctx.ctx)), delay_ms, errand),
    }
    Ok(RedisValue::NoReply)
}

fn in_thread(ctx: *mut raw::RedisModuleCtx, delay_ms: u64, errand: Errand) {
    let sent = Sent((ctx, errand));
    std::thread::spawn(move || {
        let (ctx, errand) = sent.take();
        std::thread::sleep(Duration::from_millis(delay_ms));
        call!(RedisModule_ThreadSafeContextLock(ctx));
        errand.run(ctx);
        call!(RedisModule_FreeThreadSafeContext(ctx));
        // The context is not looked into.
        call!(RedisModule_ThreadSafeContextUnlock(ptr::null_mut()));
    });
}

unsafe extern "C" fn on_timer(ctx: *mut raw::RedisModuleCtx, errand: *mut c_void) {
    // SAFETY: made by `call_at`, and the timer calls once.
    let errand = unsafe { Box::from_raw(errand.cast::<Errand>()) };
    errand.run(ctx);
}

unsafe extern "C" fn on_reply(ctx: *mut raw::RedisModuleCtx, _: *mut *mut raw::RedisModuleString, _: c_int) -> c_int {
    let answer = call!(RedisModule_GetBlockedClientPrivateData(ctx)).cast::<RedisResult>();
    // SAFETY: made by `Errand::run`, and `on_free` has not taken it back yet.
    if let Some(answer) = unsafe { answer.as_mut() } {
        Context::new(ctx).reply(std::mem::replace(answer, Ok(RedisValue::Null)));
    }
    raw::REDISMODULE_OK as c_int
}

unsafe extern "C" fn on_free(_: *mut raw::RedisModuleCtx, answer: *mut c_void) {
    // SAFETY: made by `Errand::run`, and taken back once.
    drop(unsafe { Box::from_raw(answer.cast::<RedisResult>()) });
}
