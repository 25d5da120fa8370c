//! Calls that wait (`K`), by number: what came of them, and how to give them up.

use std::collections::BTreeMap;
use std::ffi::{c_int, c_void};
use std::ptr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use redis_module::{raw, RedisResult, RedisValue};

use crate::api::{call, Sent};
use crate::call::read;

/// What became of a call.
enum State {
    Waits(*mut raw::RedisModuleCallReply),
    Aborted(*mut raw::RedisModuleCallReply),
    Answered(RedisResult),
}

static PROMISES: Mutex<BTreeMap<usize, Sent<State>>> = Mutex::new(BTreeMap::new());

fn promises() -> MutexGuard<'static, BTreeMap<usize, Sent<State>>> {
    PROMISES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Keeps a call that waits; its number.
pub fn keep(reply: *mut raw::RedisModuleCallReply) -> RedisResult {
    let mut promises = promises();
    let number = promises.len();
    promises.insert(number, Sent(State::Waits(reply)));
    let data = ptr::without_provenance_mut::<c_void>(number);
    call!(RedisModule_CallReplyPromiseSetUnblockHandler(reply, Some(on_answer), data));
    Ok(RedisValue::Array(vec![RedisValue::SimpleStringStatic("promise"), RedisValue::Integer(number as i64)]))
}

unsafe extern "C" fn on_answer(_: *mut raw::RedisModuleCtx, reply: *mut raw::RedisModuleCallReply, data: *mut c_void) {
    let answer = read(reply);
    call!(RedisModule_FreeCallReply(reply));
    let state = promises().insert(data.addr(), Sent(State::Answered(answer)));
    if let Some(Sent(State::Waits(promise))) = state {
        call!(RedisModule_FreeCallReply(promise));
    }
}

/// What became of this call: `waits`, `aborted`, or an array of one with the answer.
pub fn state(number: usize) -> RedisResult {
    Ok(RedisValue::SimpleStringStatic(match promises().get(&number) {
        Some(Sent(State::Waits(_))) => "waits",
        Some(Sent(State::Aborted(_))) => "aborted",
        Some(Sent(State::Answered(Ok(answer)))) => return Ok(RedisValue::Array(vec![answer.clone()])),
        Some(Sent(State::Answered(Err(error)))) => {
            return Ok(RedisValue::Array(vec![RedisValue::StringBuffer(error.to_string().into_bytes())]))
        }
        None => "unknown",
    }))
}

/// Gives it up: 1, or 0 if the server says that it is too late.
pub fn abort(number: usize) -> RedisResult {
    // The lock is not held while the server calls back.
    let reply = match promises().get(&number) {
        Some(Sent(State::Waits(reply) | State::Aborted(reply))) => *reply,
        Some(Sent(State::Answered(_))) | None => return Ok(RedisValue::Integer(0)),
    };
    let done = call!(RedisModule_CallReplyPromiseAbort(reply, ptr::null_mut())) == raw::REDISMODULE_OK as c_int;
    if done {
        promises().insert(number, Sent(State::Aborted(reply)));
    }
    Ok(RedisValue::Integer(done.into()))
}
