//! `LOCK.CHECK key owner`

use super::super::call::{Answer, Answered, Call, Handler};
use super::super::ffi::clock;
use super::super::ffi::command::{entry, Arg, ArgKind, Audience, CommandRow, KeyUse};
use crate::engine;
use crate::wire::CheckRequest;

pub const ROW: CommandRow = CommandRow {
    name: c"lock.check",
    flags: c"readonly fast",
    categories: "read fast",
    audience: Audience::Clients,
    key: KeyUse::Read,
    entry: entry::<Check>,
    summary: "Returns the fence and the remaining lease of an owner's hold, or null if it does not hold the lock.",
    complexity: "O(log N) with N being the number of holders of the lock.",
    arity: 3,
    args: &[Arg { name: "owner", kind: ArgKind::Text, summary: "The owner whose hold is checked." }],
    options: &[],
};

struct Check;

impl Handler for Check {
    const NAME: &'static str = "LOCK.CHECK";

    fn handle(call: &Call) -> Answered {
        let CheckRequest { owner } = CheckRequest::parse(call.args)?;
        let held = call.read(|read| {
            let (stored, key_ttl_ms) = read?;
            engine::check(&stored.holders, key_ttl_ms, owner, clock::now())
        })?;
        Ok(held.map_or(Answer::Null, |(fence, ttl_ms)| Answer::Checked { fence, ttl_ms }))
    }
}
