//! `LOCK.ACQUIRE key owner [PX ms | EX s] [BLOCK ms] [SHARED [LIMIT n [WEIGHT w]]] [SESSION] [MAX ms] [DELAY ms]`

use rand::rngs::SysRng;
use rand::TryRng;

use super::super::call::{Answer, Answered, Call, Handler, Refusal};
use super::super::ffi::clock;
use super::super::ffi::command::{entry, Arg, ArgKind, Audience, CommandRow, KeyUse};
use super::super::key::ReadKeyspace;
use super::super::{blocked, caller, state, timer};
use crate::engine::{Events, Outcome};
use crate::lock::{OwnerRef, Request, Session};
use crate::wire::errors::{Refused, NO_RANDOM_BYTES, PANICKED};
use crate::wire::{AcquireRequest, Patience, ACQUIRE_OPTIONS};

pub const ROW: CommandRow = CommandRow {
    name: c"lock.acquire",
    flags: c"write deny-oom blocking fast",
    categories: "write fast blocking",
    audience: Audience::Clients,
    key: KeyUse::ReadWrite,
    entry: entry::<Acquire>,
    summary: "Acquires a lock and returns its fence, or null if it is taken. Optionally waits for it in a FIFO queue.",
    complexity: "O(log N) with N being the number of locks and waiters.",
    arity: -3,
    args: &[Arg {
        name: "owner",
        kind: ArgKind::Text,
        summary:
            "The owner that requests the lock, 1 to 1024 bytes. With *, the server generates an owner and returns it.",
    }],
    options: ACQUIRE_OPTIONS,
};

struct Acquire;

impl Handler for Acquire {
    const NAME: &'static str = "LOCK.ACQUIRE";

    fn handle(call: &Call) -> Answered {
        let request = AcquireRequest::parse(call.args, call.leases()?)?;
        call.check_role()?;
        let mut made = [0; 32];
        let (owner, is_made) = match request.owner {
            Some(owner) => (owner, false),
            None => (make_owner(&mut made)?, true),
        };
        let patience = patience(call, request.patience);
        let (session, user) = (session(call, &request)?, caller::user(call.ctx));
        let AcquireRequest { mode, lease, max, delay, .. } = request;
        let asked = Request { owner, mode, lease, max, delay, session, user };
        let now = clock::now();
        let mut events = Events::new();
        let outcome = state::with_engine(|engine| {
            let mut outcome =
                engine.acquire(call.at, &mut call.open(), now, asked, patience, &mut ReadKeyspace(call.ctx))?;
            if let Outcome::Waits(ticket) = outcome {
                let client = if caller::may_wait(call) { blocked::block(call.ctx) } else { None };
                match client {
                    Some(client) => engine.park(ticket, client, call.at, is_made),
                    None => outcome = engine.refuse_to_wait(call.at, now, ticket),
                }
            }
            timer::arm(call.ctx, engine.first_deadline());
            events = engine.take_events();
            Ok::<_, Refusal>(outcome)
        })
        .ok_or(PANICKED)??;
        call.notify(&events);
        match outcome {
            Outcome::Granted(fence) if is_made => Ok(Answer::Granted { made_owner: owner.to_owner(), fence }),
            Outcome::Granted(fence) => Ok(Answer::Integer(fence.get())),
            Outcome::Busy => Ok(Answer::Null),
            Outcome::Waits(_) => Ok(Answer::Nothing),
            Outcome::Refused(refused) => Err(refused.into()),
        }
    }
}

/// The session that a request with SESSION is bound to: that of the connection on which it came.
pub(super) fn session(call: &Call, request: &AcquireRequest) -> Result<Option<Session>, Refusal> {
    if !request.is_session {
        return Ok(None);
    }
    let client = caller::connection(call).ok_or(Refused::NoSession)?;
    Ok(Some(state::with_engine(|engine| engine.session(client)).ok_or(PANICKED)?))
}

/// How long the request may wait. A client that must not be blocked does not wait.
pub(super) fn patience(call: &Call, asked: Patience) -> Patience {
    match asked {
        Patience::For(_) | Patience::Endless if call.ctx.flags().denies_blocking() => Patience::None,
        patience => patience,
    }
}

/// Makes an owner: 128 random bits from the operating system, in 32 hex digits.
pub(super) fn make_owner(owner: &mut [u8; 32]) -> Result<OwnerRef<'_>, Refusal> {
    let mut random = [0u8; 16];
    SysRng.try_fill_bytes(&mut random).map_err(|_| NO_RANDOM_BYTES)?;
    let digit = |nibble: u8| if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 };
    for (pair, byte) in owner.chunks_exact_mut(2).zip(random) {
        if let [high, low] = pair {
            (*high, *low) = (digit(byte >> 4), digit(byte & 0xf));
        }
    }
    Ok(OwnerRef::new(owner).ok_or(PANICKED)?)
}
