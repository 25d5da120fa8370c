//! A command's way from its arguments to its reply.

use std::borrow::Cow;
use std::ffi::c_int;

use redis_module::raw;

use super::api::{self, call, Ctx, RawCtx, RawString};
use super::guard::guard;
use super::key::{OpenKey, ReadKey};
use super::{notify, propagation, reply, role, state};
use crate::engine::{Found, KeyEvent, KeyRef, Stored, WrongType};
use crate::lock::{Fence, Owner};
use crate::wire::{BadRequest, Leases, Refused, ARGS_MAX};

/// The error for a key of another type.
pub const WRONG_TYPE: &str = "WRONGTYPE Operation against a key holding the wrong kind of value";
const READ_ONLY: &str = "READONLY You can't write against a read only replica.";
/// The error for a panic.
pub const PANICKED: &str = "ERR internal error in the module redislock, see the server's log";

/// What a command answers.
pub enum Answer {
    Integer(u64),
    Null,
    Granted {
        made_owner: Owner,
        fence: Fence,
    },
    Checked {
        fence: u64,
        ttl_ms: u64,
    },
    Ok,
    /// The client waits and is answered later, or it was answered already.
    Nothing,
}

/// Why a command is refused.
pub enum Refusal {
    Arity,
    Text(Cow<'static, str>),
}

impl From<BadRequest> for Refusal {
    fn from(bad: BadRequest) -> Refusal {
        match bad {
            BadRequest::Arity => Refusal::Arity,
            bad => Refusal::Text(bad.to_string().into()),
        }
    }
}

impl From<WrongType> for Refusal {
    fn from(_: WrongType) -> Refusal {
        Refusal::Text(WRONG_TYPE.into())
    }
}

impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Refusal {
        Refusal::Text(refused.to_string().into())
    }
}

impl From<&'static str> for Refusal {
    fn from(text: &'static str) -> Refusal {
        Refusal::Text(text.into())
    }
}

/// What becomes of a command.
pub type Answered = Result<Answer, Refusal>;

/// A command's arguments.
pub struct Call<'a> {
    /// Its context.
    pub ctx: Ctx,
    key: *mut RawString,
    /// Its key.
    pub at: KeyRef<'a>,
    /// What follows the key.
    pub args: &'a [&'a [u8]],
    /// It runs within another command of this module: another module called it when it was told of an event there.
    pub is_nested: bool,
}

impl Call<'_> {
    /// Opens the key.
    pub fn open(&self) -> OpenKey<'_> {
        // SAFETY: the argument lives as long as the command, and the context is the command's.
        unsafe { OpenKey::of_command(self.ctx, self.key, propagation::has_no_listeners()) }
    }

    /// Publishes what happened to the key, which must be closed.
    pub fn publish(&self, events: &[KeyEvent]) {
        notify::notify_of_command(self.ctx, self.key, events);
    }

    /// Looks at the lock there, if there is one, and at what is left of the key's TTL in milliseconds, if somebody set one.
    /// Changes nothing.
    pub fn see<R>(&self, look: impl FnOnce(Option<(&Stored, Option<u64>)>) -> R) -> Result<R, WrongType> {
        // SAFETY: the argument lives as long as the command, and the context is the command's.
        let seen = unsafe { ReadKey::of_command(self.ctx, self.key) };
        if seen.found() == Found::Other {
            return Err(WrongType);
        }
        Ok(look(seen.stored().map(|stored| (stored, seen.ttl_ms()))))
    }

    /// Which leases may be asked for.
    pub fn leases(&self) -> Result<Leases, Refusal> {
        state::with_engine(|engine| engine.settings().leases()).ok_or_else(|| PANICKED.into())
    }

    /// A replica applies and never decides, also when it lets clients write.
    pub fn decides(&self) -> Result<(), Refusal> {
        if role::is_replica() {
            return Err(READ_ONLY.into());
        }
        Ok(())
    }
}

/// Reads the arguments, runs the command behind the barrier, answers.
///
/// # Safety
/// Called by Redis with a live context and `argc` live strings.
pub unsafe fn run(
    ctx: *mut RawCtx,
    argv: *mut *mut RawString,
    argc: c_int,
    what: &str,
    body: fn(&Call) -> Answered,
) -> c_int {
    // SAFETY: Redis lends the context for the call.
    let ctx = unsafe { Ctx::new(ctx) };
    let is_nested = state::COMMAND.is_set();
    let run = || {
        // SAFETY: Redis passes `argc` live strings.
        let argv = unsafe { std::slice::from_raw_parts(argv, usize::try_from(argc).unwrap_or(0)) };
        let key = argv.get(1).copied().unwrap_or(std::ptr::null_mut());
        let mut args: [&[u8]; ARGS_MAX] = [&[]; ARGS_MAX];
        let mut count = 0;
        for (slot, arg) in args.iter_mut().zip(argv.iter().skip(2)) {
            // SAFETY: a live string of the command.
            *slot = unsafe { api::bytes(*arg) };
            count += 1;
        }
        // SAFETY: as above.
        let name = unsafe { api::bytes(key) };
        let args = args.get(..count).unwrap_or_default();
        answer(ctx, body(&Call { ctx, key, at: KeyRef { db: ctx.db(), name }, args, is_nested }));
        true
    };
    let is_answered = state::COMMAND.during(|| guard(what, false, run));
    if !is_answered {
        // Nothing behind the body can panic.
        guard("answering", (), || ctx.reply_error(PANICKED));
    }
    raw::REDISMODULE_OK as c_int
}

fn answer(ctx: Ctx, answered: Answered) {
    match answered {
        Ok(Answer::Integer(number)) => ctx.reply_integer(number),
        Ok(Answer::Null) => ctx.reply_null(),
        Ok(Answer::Granted { made_owner, fence }) => reply::granted(ctx, Some(made_owner.as_bytes()), fence),
        Ok(Answer::Checked { fence, ttl_ms }) => reply::checked(ctx, fence, ttl_ms),
        Ok(Answer::Ok) => ctx.reply_ok(),
        Ok(Answer::Nothing) => {}
        Err(Refusal::Arity) => {
            // SAFETY: the context is live.
            unsafe { call!(RedisModule_WrongArity(ctx.raw())) };
        }
        Err(Refusal::Text(text)) => ctx.reply_error(&text),
    }
}
