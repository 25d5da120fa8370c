//! The table of commands, and what each does between its arguments and its reply.

use std::borrow::Cow;
use std::ffi::{c_int, CStr};

use rand::rngs::SysRng;
use rand::TryRng;
use redis_module::raw;

use super::api::{self, call, Ctx, Flags, RawCtx, RawString};
use super::blocked::BlockedClient;
use super::command_info::{CommandInfo, ACQUIRE, APPLY as APPLY_INFO, EXTEND, FENCE as FENCE_INFO, RELEASE};
use super::guard::guard;
use super::key::OpenKey;
use super::{alarm, listeners, state};
use crate::engine::{Asked, Engine, KeyRef, Outcome, WrongType, WAITERS_MAX, WAITERS_TOTAL_MAX};
use crate::lock::{Fence, Owner, OwnerRef};
use crate::wire::{self, AcquireRequest, BadRequest, ExtendRequest, Patience, ReleaseRequest, ARGS_MAX};

/// Replicates how one lock stands.
pub const APPLY: &CStr = c"LOCK.__APPLY";
/// Replicates how far the fence clock has come.
pub const FENCE: &CStr = c"LOCK.__FENCE";

/// The error for a key of another type.
pub const WRONG_TYPE: &str = "WRONGTYPE Operation against a key holding the wrong kind of value";
/// The error for effects that do not come from a primary or an AOF.
const INTERNAL: &str = "ERR this command is internal to replication, use LOCK.ACQUIRE, LOCK.RELEASE and LOCK.EXTEND";
const READ_ONLY: &str = "READONLY You can't write against a read only replica.";
const CORRUPT: &str = "ERR unknown lock effect, this replica or AOF is read by an older version of the module";
const PANICKED: &str = "ERR internal error in the module redislock, see the server's log";

/// One row a command: its name, what it does, its flags for RM_CreateCommand, and what is told of it.
pub struct Row {
    /// As it is registered.
    pub name: &'static CStr,
    /// The flags.
    pub flags: &'static CStr,
    /// Where its one key stands, or 0.
    pub key: c_int,
    /// What Redis calls.
    pub entry: unsafe extern "C" fn(*mut RawCtx, *mut *mut RawString, c_int) -> c_int,
    /// Arity, key specs, docs.
    pub info: &'static CommandInfo,
}

/// All commands.
pub const TABLE: &[Row] = &[
    Row { name: c"lock.acquire", flags: c"write deny-oom blocking fast", key: 1, entry: on_acquire, info: &ACQUIRE },
    Row { name: c"lock.release", flags: c"write fast", key: 1, entry: on_release, info: &RELEASE },
    Row { name: c"lock.extend", flags: c"write fast", key: 1, entry: on_extend, info: &EXTEND },
    // Not shown in MONITOR. They take no memory check: a replica must follow its primary.
    Row { name: c"lock.__apply", flags: c"write no-monitor fast", key: 1, entry: on_apply, info: &APPLY_INFO },
    Row { name: c"lock.__fence", flags: c"write no-monitor fast", key: 0, entry: on_fence, info: &FENCE_INFO },
    #[cfg(feature = "planted-faults")]
    Row { name: c"lock.__fault", flags: c"admin", key: 0, entry: on_fault, info: &FENCE_INFO },
];

/// What a command answers.
enum Answer {
    Integer(u64),
    Null,
    Granted {
        made_owner: Owner,
        fence: Fence,
    },
    Ok,
    /// The client waits; it is answered later.
    Later,
}

/// Why a command is refused.
enum Refusal {
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

impl From<&'static str> for Refusal {
    fn from(text: &'static str) -> Refusal {
        Refusal::Text(text.into())
    }
}

type Answered = Result<Answer, Refusal>;

/// A command's arguments.
struct Call<'a> {
    ctx: Ctx,
    flags: Flags,
    key: *mut RawString,
    at: KeyRef<'a>,
    /// What follows the key.
    args: &'a [&'a [u8]],
}

impl Call<'_> {
    /// Opens the key.
    fn open(&self) -> OpenKey<'_> {
        // SAFETY: the argument lives as long as the command, and the context is the command's.
        unsafe { OpenKey::of_command(self.ctx, self.key, listeners::none(self.flags)) }
    }

    /// A replica applies and never decides, also when it lets clients write.
    fn decides(&self) -> Result<(), Refusal> {
        if self.flags.is_replica() {
            return Err(READ_ONLY.into());
        }
        Ok(())
    }

    /// Effects come from the primary or from the AOF, not from clients.
    fn comes_from_replication(&self) -> Result<(), Refusal> {
        if self.flags.is_replicated() || self.ctx.is_aof_client() {
            return Ok(());
        }
        Err(INTERNAL.into())
    }
}

/// Reads the arguments, runs the command behind the barrier, answers.
unsafe fn run(
    ctx: *mut RawCtx,
    argv: *mut *mut RawString,
    argc: c_int,
    what: &str,
    body: fn(&Call) -> Answered,
) -> c_int {
    // SAFETY: Redis lends the context for the call.
    let ctx = unsafe { Ctx::new(ctx) };
    let answered = guard(what, Err(PANICKED.into()), || {
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
        body(&Call { ctx, flags: ctx.flags(), key, at: KeyRef { db: ctx.db(), name }, args })
    });
    guard("answering", (), || match answered {
        Ok(Answer::Integer(number)) => ctx.reply_integer(number),
        Ok(Answer::Null) => ctx.reply_null(),
        Ok(Answer::Granted { made_owner, fence }) => ctx.reply_pair(made_owner.as_bytes(), fence.get()),
        Ok(Answer::Ok) => ctx.reply_ok(),
        Ok(Answer::Later) => {}
        Err(Refusal::Arity) => {
            // SAFETY: the context is live.
            unsafe { call!(RedisModule_WrongArity(ctx.raw())) };
        }
        Err(Refusal::Text(text)) => ctx.reply_error(&text),
    });
    raw::REDISMODULE_OK as c_int
}

/// What Redis calls for a command.
macro_rules! entry {
    ($name:ident, $what:literal, $body:path) => {
        unsafe extern "C" fn $name(ctx: *mut RawCtx, argv: *mut *mut RawString, argc: c_int) -> c_int {
            // SAFETY: passed on as they came.
            unsafe { run(ctx, argv, argc, $what, $body) }
        }
    };
}

entry!(on_acquire, "LOCK.ACQUIRE", acquire);
entry!(on_release, "LOCK.RELEASE", release);
entry!(on_extend, "LOCK.EXTEND", extend);
entry!(on_apply, "LOCK.__APPLY", apply);
entry!(on_fence, "LOCK.__FENCE", learn_fence);
#[cfg(feature = "planted-faults")]
entry!(on_fault, "LOCK.__FAULT", faults::fault);

/// `LOCK.ACQUIRE key owner [PX ms | EX s] [BLOCK ms]`
fn acquire(call: &Call) -> Answered {
    let request = AcquireRequest::parse(call.args)?;
    call.decides()?;
    let mut made = [0; 32];
    let (owner, is_made) = match request.owner {
        Some(owner) => (owner, false),
        None => {
            fill_with_owner(&mut made)?;
            (OwnerRef::new(&made).ok_or(PANICKED)?, true)
        }
    };
    let patience = if call.flags.denies_blocking() { Patience::None } else { request.patience };
    let asked = Asked { owner, lease: request.lease, patience };
    let now = api::now();
    let outcome = state::with_engine(|engine| {
        let outcome = engine.acquire(call.at, &mut call.open(), now, asked)?;
        if let Outcome::Waits(ticket) = outcome {
            let made_owner = is_made.then(|| owner.to_owner());
            engine.park(ticket, BlockedClient::block(call.ctx), call.at, made_owner);
        }
        alarm::arm(call.ctx, engine.first_deadline());
        Ok::<_, Refusal>(outcome)
    })
    .ok_or(PANICKED)??;
    match outcome {
        Outcome::Granted(fence) if is_made => Ok(Answer::Granted { made_owner: owner.to_owner(), fence }),
        Outcome::Granted(fence) => Ok(Answer::Integer(fence.get())),
        Outcome::Refused => Ok(Answer::Null),
        Outcome::Waits(_) => Ok(Answer::Later),
        Outcome::LineFull => {
            Err(Refusal::Text(format!("ERR {WAITERS_MAX} clients wait for this lock (max-waiters)").into()))
        }
        Outcome::ServerFull => {
            Err(Refusal::Text(format!("ERR {WAITERS_TOTAL_MAX} clients wait for locks (max-waiters-total)").into()))
        }
    }
}

/// `LOCK.RELEASE key owner [FENCE n]`
fn release(call: &Call) -> Answered {
    let request = ReleaseRequest::parse(call.args)?;
    call.decides()?;
    change(call, |engine, key| engine.release(call.at, key, api::now(), &request))
}

/// `LOCK.EXTEND key owner [PX ms | EX s] [FENCE n] [RAISE n]`
fn extend(call: &Call) -> Answered {
    let now = api::now();
    let request = ExtendRequest::parse(call.args, now.unix)?;
    call.decides()?;
    change(call, |engine, key| engine.extend(call.at, key, now, &request))
}

/// A command that answers 1 or 0.
fn change(
    call: &Call,
    step: impl FnOnce(&mut Engine<BlockedClient>, &mut OpenKey) -> Result<bool, WrongType>,
) -> Answered {
    let held = state::with_engine(|engine| {
        let held = step(engine, &mut call.open())?;
        alarm::arm(call.ctx, engine.first_deadline());
        Ok::<_, Refusal>(held)
    });
    Ok(Answer::Integer(u64::from(held.ok_or(PANICKED)??)))
}

/// `LOCK.__APPLY key effect`
fn apply(call: &Call) -> Answered {
    if state::OWN_QUESTION.is_set() {
        return Ok(Answer::Ok); // That the server let it come so far is the answer.
    }
    call.comes_from_replication()?;
    let effect = call.args.first().ok_or(Refusal::Arity)?;
    let news = wire::decode_effect(effect, api::now()).map_err(|_| CORRUPT)?;
    state::with_engine(|engine| engine.apply(call.at, &mut call.open(), news)).ok_or(PANICKED)?;
    call.ctx.replicate_verbatim();
    Ok(Answer::Ok)
}

/// `LOCK.__FENCE number`
fn learn_fence(call: &Call) -> Answered {
    call.comes_from_replication()?;
    // The number stands where other commands have their key.
    let number = std::str::from_utf8(call.at.name).ok().and_then(|digits| digits.parse().ok()).and_then(Fence::new);
    let fence = number.ok_or(CORRUPT)?;
    state::with_engine(|engine| engine.fences().learn(fence)).ok_or(PANICKED)?;
    call.ctx.replicate_verbatim();
    Ok(Answer::Ok)
}

/// Makes an owner: 128 random bits from the operating system, in 32 hex digits.
fn fill_with_owner(owner: &mut [u8; 32]) -> Result<(), Refusal> {
    let mut random = [0u8; 16];
    SysRng.try_fill_bytes(&mut random).map_err(|_| "ERR the operating system gave no random bytes for an owner")?;
    let digit = |nibble: u8| if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 };
    for (pair, byte) in owner.chunks_exact_mut(2).zip(random) {
        if let [high, low] = pair {
            (*high, *low) = (digit(byte >> 4), digit(byte & 0xf));
        }
    }
    Ok(())
}

/// Faults that tests plant on purpose.
#[cfg(feature = "planted-faults")]
pub mod faults {
    use super::*;
    use crate::redis::state::MainThread;
    use std::cell::Cell;

    static TIMER: MainThread<Cell<bool>> = MainThread::new(Cell::new(false));

    /// `LOCK.__FAULT command | timer`: panics here, or when the timer rings next.
    pub(super) fn fault(call: &Call) -> Answered {
        if call.at.name == b"timer" {
            TIMER.get().set(true);
            alarm::kick();
            return Ok(Answer::Ok);
        }
        #[allow(clippy::panic)]
        {
            panic!("planted in a command");
        }
    }

    /// Panics if it was asked to.
    pub fn timer() {
        #[allow(clippy::panic)]
        if TIMER.get().take() {
            panic!("planted in the timer");
        }
    }
}
