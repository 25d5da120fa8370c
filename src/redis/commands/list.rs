//! `LOCK.LIST cursor [COUNT n] [MATCH pattern] [OWNER owner]`

use super::super::call::{Answer, Answered, Call, Handler};
use super::super::ffi::clock;
use super::super::ffi::command::{entry, Arg, ArgKind, Audience, CommandRow, KeyUse};
use super::super::key::ReadableKeys;
use super::super::server::TimerServer;
use super::super::{caller, reply, state};
use crate::engine::{Engine, Page};
use crate::wire::errors::PANICKED;
use crate::wire::{ListRequest, LIST_OPTIONS};

pub const ROW: CommandRow = CommandRow {
    name: c"lock.list",
    flags: c"readonly",
    categories: "read slow",
    audience: Audience::Clients,
    key: KeyUse::None,
    entry: entry::<List>,
    summary: "Iterates over the locks of the selected database. Returns the next cursor and some locks.",
    complexity:
        "O(N) for each call with N being COUNT. O(M) for a complete iteration with M being the number of locks.",
    arity: -2,
    args: &[Arg { name: "cursor", kind: ArgKind::Integer, summary: "0 to begin, then what the last call returned." }],
    options: LIST_OPTIONS,
};

struct List;

impl Handler for List {
    const NAME: &'static str = "LOCK.LIST";

    fn handle(call: &Call) -> Answered {
        let request = ListRequest::parse(call.at.name, call.args)?;
        let is_complete = request.from > 0 || place_noted(call).ok_or(PANICKED)?;
        let mut keys = ReadableKeys { ctx: call.ctx, reader: caller::reader(call.ctx) };
        let list = |engine: &mut Engine<_>| match is_complete {
            true => engine.list(call.at.db, &request, clock::now(), &mut keys),
            false => Page::not_yet(),
        };
        let page = state::with_engine(list).ok_or(PANICKED)?;
        reply::page(call.ctx, &page);
        Ok(Answer::Nothing)
    }
}

/// Puts the deadlines of noted locks in place before a walk begins. True if none is left.
fn place_noted(call: &Call) -> Option<bool> {
    let mut inbox = state::take_inbox();
    let mut server = TimerServer::new(call.ctx);
    let is_complete = state::with_engine(|engine| engine.place_noted(&mut server, &mut inbox));
    call.ctx.select_db(call.at.db);
    state::put_back_inbox(inbox);
    is_complete
}
