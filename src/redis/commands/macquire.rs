//! `LOCK.MACQUIRE numkeys key [key ...] owner [PX ms | EX s] [BLOCK ms] [SHARED] [SESSION] [MAX ms]`

use super::super::call::{Answer, Answered, Call, Handler, Refusal};
use super::super::ffi::clock;
use super::super::ffi::command::{entry_of_several, Arg, ArgKind, Audience, CommandRow, KeyUse};
use super::super::key::ReadKeyspace;
use super::super::{blocked, caller, notify, reply, state, timer};
use super::acquire;
use crate::engine::OutcomeOfAll;
use crate::lock::Request;
use crate::wire::errors::PANICKED;
use crate::wire::{parse_macquire, AcquireRequest, MACQUIRE_OPTIONS};

pub const ROW: CommandRow = CommandRow {
    name: c"lock.macquire",
    flags: c"write deny-oom blocking getkeys-api",
    categories: "write slow blocking",
    audience: Audience::Clients,
    key: KeyUse::ReadWriteSeveral,
    entry: entry_of_several::<Macquire>,
    summary: "Acquires several locks, all or none, and returns their fences, or null if one is taken. Optionally waits in FIFO queues.",
    complexity: "O(K*log N) with K being the number of keys and N the number of locks and waiters.",
    arity: -4,
    args: &[Arg {
        name: "owner",
        kind: ArgKind::Text,
        summary:
            "The owner that requests the locks, 1 to 1024 bytes. With *, the server generates an owner and returns it.",
    }],
    options: MACQUIRE_OPTIONS,
};

struct Macquire;

impl Handler for Macquire {
    const NAME: &'static str = "LOCK.MACQUIRE";

    fn handle(call: &Call) -> Answered {
        let keys = call.keys()?;
        let request = parse_macquire(keys.args, call.leases()?)?;
        call.check_role()?;
        let mut made = [0; 32];
        let (owner, is_made) = match request.owner {
            Some(owner) => (owner, false),
            None => (acquire::make_owner(&mut made)?, true),
        };
        let patience = acquire::patience(call, request.patience);
        let (session, user) = (acquire::session(call, &request)?, caller::user(call.ctx));
        let AcquireRequest { mode, lease, max, delay, .. } = request;
        let asked = Request { owner, mode, lease, max, delay, session, user };
        let now = clock::now();
        let (outcome, events) = state::with_engine(|engine| {
            let (names, mut open) = (&keys.names, keys.to_open(call));
            let mut outcome =
                engine.acquire_all(names, &mut open, now, asked, patience, &mut ReadKeyspace(call.ctx))?;
            if let OutcomeOfAll::Waits { ticket, watched } = outcome {
                let client = if caller::may_wait(call) { blocked::block(call.ctx) } else { None };
                match client {
                    Some(client) => engine.park_multi_key(ticket, client, names, watched, is_made),
                    None => outcome = engine.refuse_to_wait_for_all(names, now, ticket),
                }
            }
            timer::arm(call.ctx, engine.first_deadline());
            Ok::<_, Refusal>((outcome, engine.take_filed_events()))
        })
        .ok_or(PANICKED)??;
        notify::notify_of_keys(call.ctx, events);
        match outcome {
            OutcomeOfAll::Granted(fences) => {
                reply::grants(call.ctx, is_made.then(|| owner.as_bytes()), fences.iter().copied());
                Ok(Answer::Nothing)
            }
            OutcomeOfAll::Busy => Ok(Answer::Null),
            OutcomeOfAll::Waits { .. } => Ok(Answer::Nothing),
            OutcomeOfAll::Refused(refused) => Err(refused.into()),
        }
    }
}
