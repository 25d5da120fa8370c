//! `LOCK.INFO key`

use super::super::call::{Answer, Answered, Call, Handler};
use super::super::ffi::clock;
use super::super::ffi::command::{entry, Audience, CommandRow, KeyUse};
use super::super::{reply, state};
use crate::lock::Holders;
use crate::wire::errors::PANICKED;

pub const ROW: CommandRow = CommandRow {
    name: c"lock.info",
    flags: c"readonly",
    categories: "read slow",
    audience: Audience::Clients,
    key: KeyUse::Read,
    entry: entry::<Info>,
    summary: "Returns who holds a lock and who waits for it, or null if it is free.",
    complexity: "O(1); linear in holders whose lease has just run out.",
    arity: 2,
    args: &[],
    options: &[],
};

struct Info;

impl Handler for Info {
    const NAME: &'static str = "LOCK.INFO";

    fn handle(call: &Call) -> Answered {
        call.read(|read| {
            let free = Holders::Free;
            let (holders, key_ttl_ms) = read.map_or((&free, None), |(stored, ttl_ms)| (&stored.holders, ttl_ms));
            state::with_engine(|engine| {
                let report = engine.report(call.at, holders, key_ttl_ms, clock::now())?;
                reply::report(call.ctx, &report);
                Some(Answer::Nothing)
            })
        })?
        .map(|answer| answer.unwrap_or(Answer::Null))
        .ok_or_else(|| PANICKED.into())
    }
}
