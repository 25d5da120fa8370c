//! `LOCK.__FENCE number` tells replicas and the AOF how far the fence clock has come.

use super::super::call::{Answer, Answered, Call, Handler};
use super::super::ffi::command::{entry, Arg, ArgKind, Audience, CommandRow, KeyUse};
use super::super::state;
use super::apply::check_source;
use crate::lock;
use crate::wire::errors::{PANICKED, UNKNOWN_EFFECT};

/// The command is not shown in MONITOR. It takes no memory check: a replica must follow its primary.
pub const ROW: CommandRow = CommandRow {
    name: c"lock.__fence",
    flags: c"write no-monitor fast",
    categories: "admin dangerous",
    audience: Audience::Internal,
    key: KeyUse::None,
    entry: entry::<Fence>,
    summary: "Internal: what a primary tells its replicas and its AOF of its fence clock.",
    complexity: "O(1)",
    arity: 2,
    args: &[Arg { name: "number", kind: ArgKind::Integer, summary: "How far the clock has come." }],
    options: &[],
};

struct Fence;

impl Handler for Fence {
    const NAME: &'static str = "LOCK.__FENCE";

    fn handle(call: &Call) -> Answered {
        check_source(call)?;
        // The number stands where other commands have their key.
        let number = std::str::from_utf8(call.at.name).ok().and_then(|digits| digits.parse().ok());
        let fence = number.and_then(lock::Fence::new).ok_or(UNKNOWN_EFFECT)?;
        state::with_engine(|engine| engine.fences().observe(fence)).ok_or(PANICKED)?;
        call.ctx.replicate_verbatim();
        Ok(Answer::Ok)
    }
}
