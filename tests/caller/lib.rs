//! A module beside redis-lock, as somebody else may write one: it calls commands, and listens to events of locks.

#![allow(missing_docs, reason = "the macro makes functions without")]

use std::sync::Mutex;

use redis_module::{
    redis_module, CallOptionsBuilder, CallResult, Context, NextArg, NotifyEvent, RedisError, RedisResult, RedisString,
    RedisValue,
};

/// What is called when an event of a lock comes, once.
static AT_NEXT_EVENT: Mutex<Vec<String>> = Mutex::new(Vec::new());

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

redis_module! {
    name: "caller",
    version: 1,
    allocator: (redis_module::alloc::RedisAlloc, redis_module::alloc::RedisAlloc),
    data_types: [],
    commands: [
        ["caller.call", call, "write", 0, 0, 0, ""],
        ["caller.at_next_event", at_next_event, "", 0, 0, 0, ""],
    ],
    event_handlers: [
        [@MODULE: on_event],
    ],
}
