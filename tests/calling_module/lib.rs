//! A module beside redis-lock, as somebody else may write one: it calls commands, and listens to events of locks.

#![allow(missing_docs, reason = "the macro makes functions without")]
#![allow(clippy::unwrap_used, reason = "a missing function ends the test")]

mod api;
mod call;
mod places;
mod promises;

use std::sync::Mutex;

use redis_module::raw::ModuleOptions;
use redis_module::{
    redis_module, CallOptionsBuilder, CallResult, Context, NextArg, NotifyEvent, RedisError, RedisResult, RedisString,
    RedisValue, Status,
};

use call::Wanted;
use places::{call_at, Place};

/// What is called when an event of a lock comes, once.
static AT_NEXT_EVENT: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// `CALLER.DO place[:ms] format user command [argument ...]`: what the command answered, called in that place after so many
/// milliseconds, with these modifiers of RM_Call's format (`!E`, `!EC`, `!EK` ...) and, unless it is `-`, as this user of the
/// context. A call that waits (`K`) is answered `promise` and its number.
fn do_call(ctx: &Context, args: Vec<RedisString>) -> RedisResult {
    let mut args = args.into_iter().skip(1);
    let (place, delay_ms) = Place::parse(&args.next_string()?)?;
    call_at(ctx, place, delay_ms, Wanted::parse(args)?)
}

/// `CALLER.PROMISE number`: what became of a call that waited.
fn promise(_: &Context, args: Vec<RedisString>) -> RedisResult {
    promises::state(number(args)?)
}

/// `CALLER.ABORT number`: gives such a call up.
fn abort(_: &Context, args: Vec<RedisString>) -> RedisResult {
    promises::abort(number(args)?)
}

fn number(args: Vec<RedisString>) -> Result<usize, RedisError> {
    let number = args.into_iter().nth(1).ok_or(RedisError::WrongArity)?.parse_unsigned_integer()?;
    usize::try_from(number).map_err(|_| RedisError::Str("ERR no such number"))
}

/// `CALLER.CALL command [argument ...]`: what the command answered.
fn call(ctx: &Context, args: Vec<RedisString>) -> RedisResult {
    let mut args = args.into_iter().skip(1);
    let command = args.next_string()?;
    let args: Vec<RedisString> = args.collect();
    let options = CallOptionsBuilder::new().replicate().errors_as_replies().build();
    let answer: CallResult = ctx.call_ext(&command, &options, args.iter().collect::<Vec<_>>().as_slice());
    match answer {
        Ok(reply) => Ok(RedisValue::from(&reply)),
        Err(error) => Err(RedisError::String(error.to_utf8_string().unwrap_or_default())),
    }
}

/// `CALLER.AT_NEXT_EVENT command [argument ...]`: calls this when the next event of a lock comes, inside the callback.
fn at_next_event(_: &Context, args: Vec<RedisString>) -> RedisResult {
    let command = args.iter().skip(1).map(|arg| arg.to_string_lossy()).collect();
    *AT_NEXT_EVENT.lock().map_err(|_| RedisError::Str("poisoned"))? = command;
    Ok(RedisValue::SimpleStringStatic("OK"))
}

fn on_event(ctx: &Context, _: NotifyEvent, event: &str, _: &[u8]) {
    let command = AT_NEXT_EVENT.lock().map(|mut command| std::mem::take(&mut *command)).unwrap_or_default();
    if let Some((name, args)) = command.split_first() {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let answer = ctx.call(name, args.as_slice());
        ctx.log_notice(&format!("at {event}: {command:?} answered {answer:?}"));
    }
}

/// A module without this has every server load replicas' data from disk.
fn init(ctx: &Context, _: &[RedisString]) -> Status {
    ctx.set_module_options(ModuleOptions::HANDLE_REPL_ASYNC_LOAD);
    Status::Ok
}

redis_module! {
    name: "caller",
    version: 1,
    allocator: (redis_module::alloc::RedisAlloc, redis_module::alloc::RedisAlloc),
    data_types: [],
    init: init,
    commands: [
        ["caller.call", call, "write", 0, 0, 0, ""],
        ["caller.do", do_call, "write", 0, 0, 0, ""],
        ["caller.promise", promise, "", 0, 0, 0, ""],
        ["caller.abort", abort, "", 0, 0, 0, ""],
        ["caller.at_next_event", at_next_event, "", 0, 0, 0, ""],
    ],
    event_handlers: [
        [@MODULE: on_event],
    ],
}
