//! `LOCK.TOP [COUNT n] [BY WAITERS | WAITED]`

use super::super::call::{Answer, Answered, Call, Handler};
use super::super::ffi::clock;
use super::super::ffi::command::{entry, Audience, CommandRow, KeyUse};
use super::super::key::ReadableKeys;
use super::super::{caller, reply, state};
use crate::wire::errors::PANICKED;
use crate::wire::{TopRequest, TOP_OPTIONS};

pub const ROW: CommandRow = CommandRow {
    name: c"lock.top",
    flags: c"readonly",
    categories: "read slow",
    audience: Audience::Clients,
    key: KeyUse::None,
    entry: entry::<Top>,
    summary: "Returns the most contended locks of the selected database.",
    complexity: "O(N) with N being the number of locks that clients wait for.",
    arity: -1,
    args: &[],
    options: TOP_OPTIONS,
};

struct Top;

impl Handler for Top {
    const NAME: &'static str = "LOCK.TOP";

    fn handle(call: &Call) -> Answered {
        let request = TopRequest::parse(call.words)?;
        let mut keys = ReadableKeys { ctx: call.ctx, reader: caller::reader(call.ctx) };
        let top = state::with_engine(|engine| engine.top(call.at.db, &request, clock::now(), &mut keys));
        reply::top(call.ctx, &top.ok_or(PANICKED)?);
        Ok(Answer::Nothing)
    }
}
