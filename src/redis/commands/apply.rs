//! `LOCK.__APPLY key effect` tells replicas and the AOF what was decided about a lock. The module also calls it without an
//! effect, to find out whether the server would accept a write (`Ctx::probe_write`).

use super::super::call::{Answer, Answered, Call, Handler, Refusal};
use super::super::ffi::clock;
use super::super::ffi::command::{entry, Arg, ArgKind, Audience, CommandRow, KeyUse};
use super::super::state::{self, module};
use crate::policy::role::EffectSource;
use crate::wire;
use crate::wire::errors::{INTERNAL, PANICKED, UNKNOWN_EFFECT};

/// The command is not shown in MONITOR. It takes no memory check: a replica must follow its primary.
pub const ROW: CommandRow = CommandRow {
    name: c"lock.__apply",
    flags: c"write no-monitor fast",
    categories: "admin dangerous",
    audience: Audience::Internal,
    key: KeyUse::ReadWrite,
    entry: entry::<Apply>,
    summary: "Internal: what a primary tells its replicas and its AOF of a lock.",
    complexity: "O(log N) with N being the number of locks.",
    arity: 3,
    args: &[Arg { name: "effect", kind: ArgKind::Text, summary: "What changed." }],
    options: &[],
};

struct Apply;

impl Handler for Apply {
    const NAME: &'static str = "LOCK.__APPLY";

    fn handle(call: &Call) -> Answered {
        if module().write_probe.is_set() {
            return Ok(Answer::Ok); // The answer is that the server let the command run at all.
        }
        check_source(call)?;
        let effect = call.args.first().ok_or(Refusal::Arity)?;
        let change = wire::decode_effect(effect, clock::now()).map_err(|_| UNKNOWN_EFFECT)?;
        state::with_engine(|engine| engine.apply(call.at, &mut call.open(), change)).ok_or(PANICKED)?;
        call.ctx.replicate_verbatim();
        Ok(Answer::Ok)
    }
}

/// Refuses a command of replication that comes from a client.
pub fn check_source(call: &Call) -> Result<(), Refusal> {
    let source = if call.ctx.flags().is_replicated() {
        EffectSource::Primary
    } else if call.ctx.is_aof_client() {
        EffectSource::AppendOnlyFile
    } else {
        EffectSource::Client
    };
    if source.may_apply() {
        Ok(())
    } else {
        Err(INTERNAL.into())
    }
}
