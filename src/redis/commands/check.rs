//! `LOCK.CHECK key owner [WAITERS]`

use super::super::call::{Answer, Answered, Call, Handler};
use super::super::ffi::clock;
use super::super::ffi::command::{entry, Arg, ArgKind, Audience, CommandRow, KeyUse};
use super::super::state;
use crate::engine;
use crate::wire::errors::PANICKED;
use crate::wire::{CheckRequest, CHECK_OPTIONS};

pub const ROW: CommandRow = CommandRow {
    name: c"lock.check",
    flags: c"readonly fast",
    categories: "read fast",
    audience: Audience::Clients,
    key: KeyUse::Read,
    entry: entry::<Check>,
    summary: "Returns the fence and the remaining lease of an owner's hold, or null if it does not hold the lock.",
    complexity: "O(log N) with N being the number of holders of the lock.",
    arity: -3,
    args: &[Arg { name: "owner", kind: ArgKind::Text, summary: "The owner whose hold is checked." }],
    options: CHECK_OPTIONS,
};

struct Check;

impl Handler for Check {
    const NAME: &'static str = "LOCK.CHECK";

    fn handle(call: &Call) -> Answered {
        let CheckRequest { owner, counts_waiters } = CheckRequest::parse(call.args)?;
        let held = call.read(|read| {
            let (stored, key_ttl_ms) = read?;
            engine::check(&stored.holders, key_ttl_ms, owner, clock::now())
        })?;
        let Some((fence, ttl_ms)) = held else { return Ok(Answer::Null) };
        let count = || state::with_engine(|engine| engine.waiters_beside(call.at, owner)).ok_or(PANICKED);
        let waiters = counts_waiters.then(count).transpose()?;
        Ok(Answer::Checked { fence, ttl_ms, waiters })
    }
}
