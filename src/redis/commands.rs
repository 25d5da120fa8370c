//! The table of commands, and what each does between its arguments and its reply.

use std::ffi::{c_int, CStr};

use rand::rngs::SysRng;
use rand::TryRng;

use super::api::{self, RawCtx, RawString};
use super::blocked::BlockedClient;
use super::call::{run, Answer, Answered, Call, Refusal, PANICKED};
use super::command_info::{self as info, CommandInfo};
#[cfg(feature = "failpoints")]
use super::faults;
use super::key::{OpenKey, ReadKeyspace};
use super::{caller, replication, reply, state, timer};
use crate::engine::{self, Engine, Events, Outcome, Stored, WrongType};
use crate::lock::{OwnerRef, Request, Session};
use crate::wire::{AcquireRequest, CheckRequest, ExtendRequest, Patience, Refused, ReleaseRequest};

/// One row a command: its name, what it does, its flags for RM_CreateCommand, its ACL categories, and what is told of it.
pub struct Row {
    /// As it is registered.
    pub name: &'static CStr,
    /// The flags.
    pub flags: &'static CStr,
    /// Redis's own ACL categories, where modules may name them.
    pub categories: &'static str,
    /// Where its one key stands, or 0.
    pub key: c_int,
    /// What Redis calls.
    pub entry: unsafe extern "C" fn(*mut RawCtx, *mut *mut RawString, c_int) -> c_int,
    /// Arity, key specs, docs.
    pub info: &'static CommandInfo,
}

impl Row {
    /// Not for clients.
    pub fn is_internal(&self) -> bool {
        self.name.to_bytes().starts_with(b"lock.__")
    }
}

/// All commands.
pub const TABLE: &[Row] = &[
    Row {
        name: c"lock.acquire",
        flags: c"write deny-oom blocking fast",
        categories: "write fast blocking",
        key: 1,
        entry: on_acquire,
        info: &info::ACQUIRE,
    },
    Row {
        name: c"lock.release",
        flags: c"write fast",
        categories: "write fast",
        key: 1,
        entry: on_release,
        info: &info::RELEASE,
    },
    Row {
        name: c"lock.extend",
        flags: c"write fast",
        categories: "write fast",
        key: 1,
        entry: on_extend,
        info: &info::EXTEND,
    },
    Row {
        name: c"lock.check",
        flags: c"readonly fast",
        categories: "read fast",
        key: 1,
        entry: on_check,
        info: &info::CHECK,
    },
    Row { name: c"lock.info", flags: c"readonly", categories: "read slow", key: 1, entry: on_info, info: &info::INFO },
    // Not shown in MONITOR. They take no memory check: a replica must follow its primary.
    Row {
        name: c"lock.__apply",
        flags: c"write no-monitor fast",
        categories: "admin dangerous",
        key: 1,
        entry: on_apply,
        info: &info::APPLY,
    },
    Row {
        name: c"lock.__fence",
        flags: c"write no-monitor fast",
        categories: "admin dangerous",
        key: 0,
        entry: on_fence,
        info: &info::FENCE,
    },
    #[cfg(feature = "failpoints")]
    Row {
        name: c"lock.__failpoint",
        flags: c"admin",
        categories: "admin dangerous",
        key: 0,
        entry: on_fault,
        info: &info::FENCE,
    },
];

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
entry!(on_check, "LOCK.CHECK", check);
entry!(on_info, "LOCK.INFO", describe);
entry!(on_apply, "LOCK.__APPLY", replication::apply);
entry!(on_fence, "LOCK.__FENCE", replication::learn_fence);
#[cfg(feature = "failpoints")]
entry!(on_fault, "LOCK.__FAILPOINT", faults::fault);

/// `LOCK.ACQUIRE key owner [PX ms | EX s] [BLOCK ms] [SHARED [LIMIT n]] [SESSION]`
fn acquire(call: &Call) -> Answered {
    let request = AcquireRequest::parse(call.args, call.leases()?)?;
    call.decides()?;
    let mut made = [0; 32];
    let (owner, is_made) = match request.owner {
        Some(owner) => (owner, false),
        None => {
            fill_with_owner(&mut made)?;
            (OwnerRef::new(&made).ok_or(PANICKED)?, true)
        }
    };
    let patience = match request.patience {
        Patience::For(_) | Patience::Endless if call.ctx.flags().denies_blocking() => Patience::None,
        patience => patience,
    };
    let (session, user) = (session(call, &request)?, caller::user(call.ctx));
    let asked = Request { owner, mode: request.mode, lease: request.lease, session, user };
    let now = api::now();
    let mut events = Events::new();
    let outcome = state::with_engine(|engine| {
        let mut outcome =
            engine.acquire(call.at, &mut call.open(), now, asked, patience, &mut ReadKeyspace(call.ctx))?;
        if let Outcome::Waits(ticket) = outcome {
            let client = if caller::may_wait(call) { BlockedClient::block(call.ctx) } else { None };
            match client {
                Some(client) => engine.park(ticket, client, call.at, is_made),
                None => outcome = engine.refuse_to_wait(call.at, ticket),
            }
        }
        timer::arm(call.ctx, engine.first_deadline());
        events = engine.take_events();
        Ok::<_, Refusal>(outcome)
    })
    .ok_or(PANICKED)??;
    call.publish(&events);
    match outcome {
        Outcome::Granted(fence) if is_made => Ok(Answer::Granted { made_owner: owner.to_owner(), fence }),
        Outcome::Granted(fence) => Ok(Answer::Integer(fence.get())),
        Outcome::Busy => Ok(Answer::Null),
        Outcome::Waits(_) => Ok(Answer::Nothing),
        Outcome::Refused(refused) => Err(refused.into()),
    }
}

/// The session that a request asks for: that of the connection it came on.
fn session(call: &Call, request: &AcquireRequest) -> Result<Option<Session>, Refusal> {
    if !request.is_session {
        return Ok(None);
    }
    let client = caller::connection(call).ok_or(Refused::NoSession)?;
    Ok(Some(state::with_engine(|engine| engine.session(client)).ok_or(PANICKED)?))
}

/// `LOCK.RELEASE key owner [FENCE n] [DOWNGRADE]`
fn release(call: &Call) -> Answered {
    let request = ReleaseRequest::parse(call.args)?;
    call.decides()?;
    change(call, |engine, key| engine.release(call.at, key, api::now(), &request))
}

/// `LOCK.EXTEND key owner [PX ms | EX s] [FENCE n] [RAISE n]`
fn extend(call: &Call) -> Answered {
    let now = api::now();
    let request = ExtendRequest::parse(call.args, call.leases()?, now.unix)?;
    call.decides()?;
    change(call, |engine, key| engine.extend(call.at, key, now, &request))
}

/// `LOCK.CHECK key owner`
fn check(call: &Call) -> Answered {
    let CheckRequest { owner } = CheckRequest::parse(call.args)?;
    let held = call.see(|seen| {
        let (stored, key_ttl_ms) = seen?;
        engine::check(&stored.holders, key_ttl_ms, owner, api::now())
    })?;
    Ok(held.map_or(Answer::Null, |(fence, ttl_ms)| Answer::Checked { fence, ttl_ms }))
}

/// `LOCK.INFO key`
fn describe(call: &Call) -> Answered {
    call.see(|seen| {
        let report = |(stored, key_ttl_ms): (&Stored, Option<u64>)| {
            state::with_engine(|engine| {
                let report = engine.report(call.at, &stored.holders, key_ttl_ms, api::now())?;
                reply::report(call.ctx, &report);
                Some(Answer::Nothing)
            })
        };
        seen.map_or(Some(None), report)
    })?
    .map(|answer| answer.unwrap_or(Answer::Null))
    .ok_or_else(|| PANICKED.into())
}

/// A command that answers 1 or 0.
fn change(
    call: &Call,
    step: impl FnOnce(&mut Engine<BlockedClient>, &mut OpenKey) -> Result<bool, WrongType>,
) -> Answered {
    let mut events = Events::new();
    let held = state::with_engine(|engine| {
        let held = step(engine, &mut call.open())?;
        timer::arm(call.ctx, engine.first_deadline());
        events = engine.take_events();
        Ok::<_, Refusal>(held)
    })
    .ok_or(PANICKED)??;
    call.publish(&events);
    Ok(Answer::Integer(u64::from(held)))
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
