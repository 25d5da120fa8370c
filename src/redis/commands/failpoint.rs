//! `LOCK.__FAILPOINT command | timer | block | list`, in builds with failpoints only.
//!
//! * `command` panics in the command, `timer` when the timer rings next.
//! * `block` blocks the client for good and keeps nothing of it, to show what that alone costs the server.
//! * `list` lists what `REDIS_LOCK_FAILPOINT` may name.

use super::super::call::{Answer, Answered, Call, Handler};
use super::super::ffi::command::{entry, Arg, ArgKind, Audience, CommandRow, KeyUse};
use super::super::state::module;
use super::super::{blocked, timer};
use crate::failpoints;

pub const ROW: CommandRow = CommandRow {
    name: c"lock.__failpoint",
    flags: c"admin",
    categories: "admin dangerous",
    audience: Audience::Internal,
    key: KeyUse::None,
    entry: entry::<Failpoint>,
    summary: "Internal: misbehaves on purpose, for tests.",
    complexity: "O(1)",
    arity: 2,
    args: &[Arg { name: "what", kind: ArgKind::Text, summary: "command, timer, block or list." }],
    options: &[],
};

struct Failpoint;

impl Handler for Failpoint {
    const NAME: &'static str = "LOCK.__FAILPOINT";

    fn handle(call: &Call) -> Answered {
        // The word stands where other commands have their key.
        match call.at.name {
            b"list" => {
                call.ctx.reply_array(failpoints::ALL.len());
                failpoints::ALL.iter().for_each(|(name, _)| call.ctx.reply_bytes(name.as_bytes()));
                Ok(Answer::Nothing)
            }
            b"block" => {
                blocked::block(call.ctx);
                Ok(Answer::Nothing)
            }
            b"timer" => {
                module().panic_in_tick.set(true);
                timer::kick();
                Ok(Answer::Ok)
            }
            #[allow(clippy::panic)]
            _ => panic!("planted in a command"),
        }
    }
}
