//! `LOCK.EXTEND key owner [PX ms | EX s] [FENCE n] [RAISE n]`

use super::super::call::{Answer, Answered, Call, Handler};
use super::super::ffi::clock;
use super::super::ffi::command::{entry, Arg, ArgKind, Audience, CommandRow, KeyUse};
use crate::wire::{ExtendRequest, EXTEND_OPTIONS};

pub const ROW: CommandRow = CommandRow {
    name: c"lock.extend",
    flags: c"write fast",
    categories: "write fast",
    audience: Audience::Clients,
    key: KeyUse::ReadWrite,
    entry: entry::<Extend>,
    summary: "Sets the lease of a lock, counted from now. Returns 1 if the owner holds it, else 0.",
    complexity: "O(log N) with N being the number of locks and waiters.",
    arity: -3,
    args: &[Arg { name: "owner", kind: ArgKind::Text, summary: "The owner that holds the lock." }],
    options: EXTEND_OPTIONS,
};

struct Extend;

impl Handler for Extend {
    const NAME: &'static str = "LOCK.EXTEND";

    fn handle(call: &Call) -> Answered {
        let now = clock::now();
        let request = ExtendRequest::parse(call.args, call.leases()?, now.unix)?;
        call.check_role()?;
        call.change(|engine, key| engine.extend(call.at, key, now, &request).map(|held| Ok(Answer::held(held))))
    }
}
